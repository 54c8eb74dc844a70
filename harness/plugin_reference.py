"""What people read about a plugin: settings with types, defaults and meanings, for the command line and the docs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from harness.exceptions import PluginError, nearest
from harness.hookspecs import Spec
from harness.plugins import KINDS, Registered, Registry


@dataclass(frozen=True)
class Setting:
    """One setting. `default`: as JSON, "required", or "see below" where it is computed."""

    name: str
    type: str
    default: str
    doc: str


def settings_of(model: Any) -> list[Setting]:
    """The settings of a pydantic model."""
    schema = model.model_json_schema()
    required = schema.get("required", [])
    found = []
    for name, entry in schema.get("properties", {}).items():
        default = json.dumps(entry["default"], ensure_ascii=False) if "default" in entry else "see below"
        if name in required:
            default = "required"
        found.append(Setting(name, type_name(entry), default, " ".join(entry.get("description", "").split())))
    return found


def type_name(entry: Mapping[str, Any]) -> str:
    """A JSON Schema type in plain words."""
    if "enum" in entry:
        return " or ".join(json.dumps(value) for value in entry["enum"])
    if "const" in entry:
        return json.dumps(entry["const"])
    if "anyOf" in entry:
        return " or ".join(type_name(part) for part in entry["anyOf"] if part.get("type") != "null")
    if entry.get("type") == "array":
        return f"list of {type_name(entry.get('items', {}))}"
    if "$ref" in entry:
        return "table"
    names = {"object": "table", "string": "text", "boolean": "true or false"}
    kind = entry.get("type", "any")
    return names.get(kind, kind)


def config_of(entry: Registered) -> Any:
    """The settings model of a plugin that is a class with settings, else None."""
    config = entry.config_class() if inspect.isclass(entry.target) else None
    return config if config is not None and config.model_fields else None


def facts_of(entry: Registered) -> dict[str, str]:
    """What the spec says beyond name, summary and target, as texts; empty facts are left out."""
    facts = {}
    for field in fields(entry.spec):
        value = getattr(entry.spec, field.name)
        if field.name not in {base.name for base in fields(Spec)} and value not in ("", ()):
            facts[field.name] = ", ".join(value) if isinstance(value, tuple) else str(value)
    if entry.spec.packages:
        facts["packages"] = ", ".join(entry.spec.packages)
    return facts


def described(entry: Registered) -> dict[str, Any]:
    """Everything about one plugin, JSON-able; `state` says what is wrong when its code cannot be imported."""
    state, doc, settings = entry.origin.state, "", []
    try:
        doc = inspect.getdoc(entry.target) or ""
        if (config := config_of(entry)) is not None:
            settings = [asdict(setting) for setting in settings_of(config)]
    except PluginError as error:
        state = error.message
    return {
        "kind": entry.kind,
        "name": entry.name,
        "summary": entry.spec.summary,
        "origin": str(entry.origin),
        "distribution": entry.origin.distribution,
        "version": entry.origin.version,
        "state": state,
        "target": entry.spec.target,
        "facts": facts_of(entry),
        "doc": doc,
        "settings": settings,
    }


def find(registry: Registry, name: str) -> list[Registered]:
    """All plugins of that name, of whatever kind; `distribution:name` works too. PluginError when there is none."""
    distribution, _, short = name.rpartition(":")
    found = [
        entry
        for kind in KINDS
        for entry in registry.of_kind(kind)
        if entry.name == short and distribution in ("", entry.origin.distribution)
    ]
    if not found:
        hint = nearest(short, {entry.name for entry in registry.entries})
        raise PluginError(f"no plugin '{name}'.", hint=f"{hint} `harness plugins list` shows all.")
    return found
