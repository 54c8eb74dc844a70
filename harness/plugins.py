"""Find plugins, load them one by one, isolate failures, resolve names and explain clashes.

pluggy's own `load_setuptools_entrypoints` raises on the first bad plugin and registers nothing, and silently drops the
second of two equal names; so entry points are loaded here, one at a time, keyed by distribution and name, and a failure
is recorded as data that matters only to a run that needs that plugin.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from harness import hookspecs
from harness.exceptions import PluginError, nearest
from harness.hookspecs import Spec

#: kind -> its hook and the specs that the hook returns.
HOOKS: dict[str, tuple[str, type[Spec]]] = {
    "strategy": ("harness_strategies", hookspecs.StrategySpec),
    "metric": ("harness_metrics", hookspecs.MetricSpec),
    "error classifier": ("harness_error_classifiers", hookspecs.ErrorClassifierSpec),
    "retriever": ("harness_retrievers", hookspecs.RetrieverSpec),
    "task loader": ("harness_task_loaders", hookspecs.TaskLoaderSpec),
    "benchmark": ("harness_benchmarks", hookspecs.BenchmarkSpec),
    "model": ("harness_models", hookspecs.ModelSpec),
    "observer": ("harness_observers", hookspecs.ObserverSpec),
}
KINDS = {kind: hook for kind, (hook, _) in HOOKS.items()}

#: The distribution whose plugins `HARNESS_PLUGINS` never leaves out.
OWN = "adaptation-harness"
RESTRICT, STRICT = "HARNESS_PLUGINS", "HARNESS_STRICT_PLUGINS"
#: The "distribution" of plugins that an experiment file brings along; their version is the digest of their file.
LOCAL = "local"
LEFT_OUT = f"left out by {RESTRICT}"


@dataclass(frozen=True)
class Origin:
    """Where a plugin came from: its distribution with version, and its state ("loaded" or what went wrong)."""

    name: str
    distribution: str
    version: str
    state: str = "loaded"

    @property
    def ok(self) -> bool:
        return self.state == "loaded"

    @property
    def failed(self) -> bool:
        return self.state not in ("loaded", LEFT_OUT)

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}".strip()


@dataclass(frozen=True)
class Registered:
    """A spec together with its origin; `resolve` imports the class it names."""

    kind: str
    spec: Spec
    origin: Origin

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def label(self) -> str:
        """How messages name it, with package and version."""
        return f"{self.kind} '{self.name}' of {self.origin}"

    def resolve(self) -> Any:
        module, _, attribute = self.spec.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:  # whatever a third party's module does when it is imported
            raise PluginError(
                f"{self.label} cannot be imported from {self.spec.target}: {type(error).__name__}: {error}",
                hint="Reinstall or update that package; `harness plugins` shows every plugin and its state.",
            ) from error

    @cached_property
    def target(self) -> Any:
        return self.resolve()

    def config_class(self) -> Any:
        """The pydantic model of the plugin's settings, or None when it has none."""
        return getattr(self.target, "Config", None)

    def create(self, settings: dict[str, Any] | None = None) -> Any:
        config = self.config_class()
        return self.target(config(**(settings or {}))) if config is not None else self.target()


@dataclass
class Registry:
    """Every plugin that was found, by kind and name."""

    origins: list[Origin] = field(default_factory=list)
    entries: list[Registered] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Registered]:
        return [entry for entry in self.entries if entry.kind == kind]

    def names(self, kind: str) -> list[str]:
        return sorted({entry.name for entry in self.of_kind(kind)})

    def get(self, kind: str, name: str) -> Registered:
        """The one plugin of that kind and name; `distribution:name` picks between equal names."""
        distribution, _, short = name.rpartition(":")
        found = [
            entry
            for entry in self.of_kind(kind)
            if entry.name == short and (not distribution or entry.origin.distribution == distribution)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            providers = ", ".join(f"'{entry.origin.distribution}:{short}'" for entry in found)
            raise PluginError(f"{kind} '{short}' is provided more than once.", hint=f"Write one of {providers}.")
        hint = nearest(short, self.names(kind))
        for heading, origins in (
            ("failed to load", [origin for origin in self.origins if origin.failed]),
            (f"are left out by {RESTRICT}", [origin for origin in self.origins if origin.state == LEFT_OUT]),
        ):
            if origins:
                named = "; ".join(f"{o.name} ({o.state if o.failed else o.distribution})" for o in origins)
                hint += f" These plugins {heading}: {named}."
        raise PluginError(f"unknown {kind} '{name}'.", hint=hint)

    def has(self, kind: str, name: str) -> bool:
        try:
            self.get(kind, name)
        except PluginError:
            return False
        return True

    def add(self, plugin: object, origin: Origin) -> None:
        """Registers everything a plugin provides, or nothing: then its origin says what is wrong with it."""
        try:
            self.entries += collect(plugin, origin)
        except (Exception, SystemExit) as error:
            origin = replace(origin, state=_what(error))
        self.origins.append(origin)


def _what(error: BaseException) -> str:
    return str(error).replace("\n ", "") if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"


def collect(plugin: object, origin: Origin) -> list[Registered]:
    """What one plugin's hooks return, checked; raises for a hook, an argument or a spec that is wrong."""
    _check_interface(plugin)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    _check_hooks(plugin)
    # A manager of its own: an implementation that raises must not cost the others their results.
    manager.register(plugin)
    found = []
    for kind, (hook, model) in HOOKS.items():
        caller = getattr(manager.hook, hook)
        if len(returned := caller()) < len(caller.get_hookimpls()):
            raise PluginError(f"{hook} returned None.", hint=f"Return a list of {model.__name__}s.")
        for specs in returned:
            found += [Registered(kind, _checked(spec, model, hook), origin) for spec in specs]
    names = [(entry.kind, entry.name) for entry in found]
    if twice := sorted({f"{kind} '{name}'" for kind, name in names if names.count((kind, name)) > 1}):
        raise PluginError(f"it provides {', '.join(twice)} twice")
    return found


def _check_interface(plugin: object) -> None:
    wanted = getattr(plugin, "HARNESS_INTERFACE", hookspecs.INTERFACE)
    if wanted != hookspecs.INTERFACE:
        newer = isinstance(wanted, int) and wanted > hookspecs.INTERFACE
        advice = f"Update the harness: pip install -U {OWN}." if newer else "Update the plugin, or ask its author to."
        raise PluginError(
            f"it was written for plugin interface {wanted}; this harness has interface {hookspecs.INTERFACE}.",
            hint=advice,
        )


def _check_hooks(plugin: object) -> None:
    """pluggy ignores a hook with a misspelt name and one without its marker; we do not."""
    known = set(KINDS.values())
    for name in dir(plugin):
        if not name.startswith("harness_") or not callable(function := getattr(plugin, name)):
            continue
        if name not in known:
            raise PluginError(f"there is no hook '{name}'.", hint=nearest(name, known))
        if getattr(function, f"{hookspecs.PROJECT}_impl", None) is None:
            raise PluginError(
                f"'{name}' is not marked.", hint="Write @hookimpl above it (from harness import hookimpl)."
            )
        allowed = list(inspect.signature(getattr(hookspecs, name)).parameters)
        for argument in inspect.signature(function).parameters:
            if argument not in allowed:
                hint = nearest(argument, allowed) if allowed else "It takes no arguments."
                raise PluginError(f"hook '{name}' has no argument '{argument}'.", hint=hint)


def _checked(spec: object, model: type[Spec], hook: str) -> Spec:
    if not isinstance(spec, model):
        raise PluginError(f"{hook} must return {model.__name__}s, got {type(spec).__name__}.")
    if spec.target.count(":") != 1 or not all(part.strip() for part in spec.target.split(":")):
        raise PluginError(f"target of '{spec.name}' must read 'module:attribute', got '{spec.target}'.")
    for need in getattr(spec, "needs", ()) or getattr(spec, "provides", ()):
        if need not in hookspecs.NEEDS:
            raise PluginError(f"'{spec.name}' names '{need}', which is no need.", hint=nearest(need, hookspecs.NEEDS))
    measures = getattr(spec, "measures", "")
    if measures and measures not in hookspecs.MEASURES:
        hint = nearest(measures, hookspecs.MEASURES)
        raise PluginError(f"'{spec.name}' measures '{measures}', which is not known.", hint=hint)
    return spec


def load_plugins(points: Sequence[EntryPoint] | None = None) -> Registry:
    """Loads every installed plugin (or the given entry points); never raises because of a plugin.

    $HARNESS_PLUGINS, where it is set, names the distributions to load beside the built-ins, separated by commas;
    $HARNESS_STRICT_PLUGINS, where it is set and not 0, makes every failure a PluginError.
    """
    registry = Registry()
    if points is None:
        points = list(entry_points(group=hookspecs.ENTRY_POINT_GROUP))
    only = os.environ.get(RESTRICT)
    chosen = None if only is None else {name.strip() for name in only.split(",") if name.strip()}
    seen: set[tuple[str, str]] = set()
    for point in sorted(points, key=lambda p: (_distribution(p)[0], p.name)):
        distribution, version = _distribution(point)
        if (distribution, point.name) in seen:  # an editable install can be listed twice
            continue
        seen.add((distribution, point.name))
        origin = Origin(point.name, distribution, version)
        if chosen is not None and distribution not in {*chosen, OWN}:
            registry.origins.append(replace(origin, state=LEFT_OUT))
            continue
        try:
            plugin = point.load()
        except (Exception, SystemExit) as error:
            registry.origins.append(replace(origin, state=_what(error)))
            continue
        registry.add(plugin, origin)
    installed = {distribution for distribution, _ in seen}
    for name in sorted((chosen or set()) - installed):
        state = f"not installed, but named in {RESTRICT}. {nearest(name, installed)}"
        registry.origins.append(Origin(name, name, "", state))
    if os.environ.get(STRICT, "0") not in ("", "0"):
        require_all(registry)
    return registry


def require_all(registry: Registry) -> None:
    """PluginError that lists every plugin that could not be loaded."""
    if failed := [origin for origin in registry.origins if origin.failed]:
        listed = "\n  ".join(f"{origin}, '{origin.name}': {origin.state}" for origin in failed)
        raise PluginError(
            f"{len(failed)} plugin(s) could not be loaded, and {STRICT} is set:\n  {listed}",
            hint=f"Repair or uninstall them, or unset {STRICT}.",
        )


def _distribution(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "unknown", ""
    return point.dist.name, point.dist.version
