"""Find plugins, load them one by one, isolate failures, resolve names and explain clashes.

pluggy's own `load_setuptools_entrypoints` raises on the first bad plugin and registers nothing, and silently drops the
second of two equal names; so entry points are loaded here, one at a time, keyed by distribution and name, and a failure
is recorded as data that matters only to a run that needs that plugin.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from harness import hookspecs
from harness.exceptions import PluginError
from harness.hookspecs import Spec

KINDS = {
    "strategy": "harness_strategies",
    "metric": "harness_metrics",
    "error classifier": "harness_error_classifiers",
    "retriever": "harness_retrievers",
    "task loader": "harness_task_loaders",
    "benchmark": "harness_benchmarks",
    "model": "harness_models",
}


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

    def resolve(self) -> Any:
        module, _, attribute = self.spec.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f"{self.kind} '{self.name}' of {self.origin} cannot be imported from {self.spec.target}: {error}",
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


def nearest(name: str, names: Iterable[str]) -> str:
    """A did-you-mean sentence, or the list of what exists."""
    known = sorted(set(names))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(known)}." if known else "None is installed."


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
        broken = [origin for origin in self.origins if not origin.ok]
        hint = nearest(name, self.names(kind))
        if broken:
            hint += " These plugins failed to load: " + "; ".join(f"{o.name} ({o.state})" for o in broken) + "."
        raise PluginError(f"unknown {kind} '{name}'.", hint=hint)

    def has(self, kind: str, name: str) -> bool:
        try:
            self.get(kind, name)
        except PluginError:
            return False
        return True


def _check_hooks(plugin: object) -> None:
    """pluggy ignores a hook with a misspelt name; we do not."""
    known = {name for name in dir(hookspecs) if name.startswith("harness_")}
    for name in dir(plugin):
        if name.startswith("harness_") and callable(getattr(plugin, name)) and name not in known:
            raise PluginError(f"there is no hook '{name}'", hint=nearest(name, known))
        if name in known and inspect.signature(getattr(plugin, name)).parameters:
            raise PluginError(f"hook '{name}' takes no arguments")


def _register(manager: pluggy.PluginManager, registry: Registry, plugin: object, origin: Origin) -> None:
    try:
        _check_hooks(plugin)
        manager.register(plugin, name=f"{origin.distribution}:{origin.name}")
        collected: list[Registered] = []
        for kind, hook in KINDS.items():
            # One plugin at a time: an implementation that raises must not cost the others their results.
            others = [other for other in manager.get_plugins() if other is not plugin]
            for specs in manager.subset_hook_caller(hook, others)():
                collected += [Registered(kind, _checked(spec, hook), origin) for spec in specs]
        registry.entries += collected
        registry.origins.append(origin)
    except Exception as error:
        registry.origins.append(
            Origin(origin.name, origin.distribution, origin.version, f"{type(error).__name__}: {error}")
        )
        if manager.is_registered(plugin):
            manager.unregister(plugin)


def _checked(spec: object, hook: str) -> Spec:
    if not isinstance(spec, Spec):
        raise PluginError(f"{hook} must return specs, got {type(spec).__name__}")
    if ":" not in spec.target:
        raise PluginError(f"target of '{spec.name}' must read 'module:attribute', got '{spec.target}'")
    return spec


def load_plugins(points: Sequence[EntryPoint] | None = None) -> Registry:
    """Loads every installed plugin (or the given entry points); never raises because of a plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    if points is None:
        points = list(entry_points(group=hookspecs.ENTRY_POINT_GROUP))
    seen: set[tuple[str, str]] = set()
    for point in sorted(points, key=lambda p: (_distribution(p)[0], p.name)):
        distribution, version = _distribution(point)
        if (distribution, point.name) in seen:  # an editable install can be listed twice
            continue
        seen.add((distribution, point.name))
        try:
            plugin = point.load()
        except Exception as error:
            registry.origins.append(Origin(point.name, distribution, version, f"{type(error).__name__}: {error}"))
            continue
        _register(manager, registry, plugin, Origin(point.name, distribution, version))
    return registry


def _distribution(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "unknown", ""
    return point.dist.name, point.dist.version
