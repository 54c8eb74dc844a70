"""A JSON Schema of the experiment file with the settings of every installed plugin: for editors and other programs.

It says what `harness check` says as far as a schema can; data, models and combinations are `check`'s alone. Draft 7,
which the common TOML editors read.
"""

from __future__ import annotations

from typing import Any

from harness.criteria import CategoryTable, EvalTable
from harness.exceptions import PluginError
from harness.plugin_reference import config_of
from harness.plugins import Registered, Registry
from harness.tables import TABLES, ArmTable

Schema = dict[str, Any]
KINDS = ("strategy", "metric", "task loader", "observer", "benchmark")


def experiment_schema(registry: Registry) -> Schema:
    """The whole schema; plugins whose code cannot be imported are left out of it."""
    shared: Schema = {}
    tables = {name: _hoisted(model.model_json_schema(), name, shared) for name, model in TABLES.items()}
    settings = {kind: _settings(registry, kind, shared) for kind in KINDS}
    _use_plugins(tables, settings)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Experiment of the adaptation harness",
        "type": "object",
        "properties": {
            "plugins": {
                "type": "array",
                "items": {"type": "string", "pattern": r"\.py$"},
                "description": "Local plugin files beside this file.",
            },
            **tables,
            "arm": {
                "type": "array",
                "minItems": 1,
                "items": _arm(settings["strategy"], shared),
                "description": "One table an arm, in the order of the report.",
            },
            "eval": {"type": "array", "items": _hoisted(EvalTable.model_json_schema(), "eval", shared)},
            "category": {"type": "array", "items": _hoisted(CategoryTable.model_json_schema(), "category", shared)},
            "errors": {
                "type": "object",
                "additionalProperties": {"anyOf": [{"type": "object"}, {"const": False}]},
                "description": "Settings of error classifiers by name; false leaves one out.",
            },
        },
        "required": ["experiment", "task", "arm"],
        "additionalProperties": False,
        "definitions": shared,
    }


def _hoisted(schema: Schema, owner: str, shared: Schema) -> Schema:
    """The schema with its own definitions moved to the shared ones, under its owner's name."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(part) for part in value]
        if not isinstance(value, dict):
            return value
        value = {key: moved(part) for key, part in value.items() if key != "$defs"}
        if isinstance(value.get("$ref"), str):
            value["$ref"] = value["$ref"].replace("#/$defs/", f"#/definitions/{owner}.")
        return value

    for name, part in schema.get("$defs", {}).items():
        shared[f"{owner}.{name}"] = moved(part)
    result: Schema = moved(schema)
    return result


def _settings(registry: Registry, kind: str, shared: Schema) -> dict[str, Schema]:
    """By name, the settings schema of every plugin of a kind that can be imported; names with two owners only so:
    `distribution:name`."""
    entries = registry.of_kind(kind)
    names = [entry.name for entry in entries]
    found = {}
    for entry in entries:
        name = entry.name if names.count(entry.name) == 1 else f"{entry.origin.distribution}:{entry.name}"
        try:
            schema = _one(entry, f"{kind} {name}".replace(" ", "-"), shared)
        except PluginError:
            continue
        found[name] = {**schema, "description": entry.spec.summary}
    return found


def _one(entry: Registered, owner: str, shared: Schema) -> Schema:
    config = config_of(entry)
    if config is None:
        return {"type": "object", "additionalProperties": False}
    return _hoisted(config.model_json_schema(), owner, shared)


def _use_plugins(tables: Schema, settings: dict[str, dict[str, Schema]]) -> None:
    """Puts the plugins' names and settings where the tables leave them open."""
    task = tables["task"]
    _name(task["properties"]["metrics"], settings["metric"])
    _name(tables["run"]["properties"]["observers"], settings["observer"])
    _one_of(task, "loader", settings["task loader"])
    _one_of(tables["benchmarks"], "use", settings["benchmark"])


def _one_of(table: Schema, key: str, plugins: dict[str, Schema]) -> None:
    """A table whose `key` names a plugin and whose further keys are that plugin's settings."""
    own = dict(table["properties"])
    own[key]["enum"] = sorted(plugins)
    default = own[key].get("default")
    for schema in plugins.values():
        for name, entry in schema.get("properties", {}).items():
            if name in own:
                continue  # a key that both we and the plugin read keeps our type
            seen = table["properties"].setdefault(name, {"anyOf": []})
            if entry not in seen["anyOf"]:
                seen["anyOf"].append(entry)
    table["additionalProperties"] = False
    table["allOf"] = []
    for name, schema in sorted(plugins.items()):
        extra = {setting: entry for setting, entry in schema.get("properties", {}).items() if setting not in own}
        other = [setting for setting in table["properties"] if setting not in own and setting not in extra]
        chosen: Schema = {"properties": {key: {"const": name}}}
        if name != default:
            chosen["required"] = [key]
        then: Schema = {"properties": {**extra, **dict.fromkeys(other, False)}}
        if needed := [setting for setting in schema.get("required", []) if setting in extra]:
            then["required"] = needed
        table["allOf"].append({"if": chosen, "then": then})


def _name(field: Schema, plugins: dict[str, Schema]) -> None:
    """A list of uses: each a plugin's name, or a table with `use`, `id` and that plugin's settings."""
    part = next((part for part in field.get("anyOf", []) if part.get("type") == "array"), field)
    part["items"] = _use(plugins)


def _use(plugins: dict[str, Schema]) -> Schema:
    tables = [
        {
            **schema,
            "properties": {
                "use": {"const": name},
                "id": {"type": "string", "description": "Another name, when one plugin stands twice."},
                **schema.get("properties", {}),
            },
            "required": ["use"],  # other required settings may stand beside, under the id
        }
        for name, schema in sorted(plugins.items())
    ]
    return {"anyOf": [{"type": "string", "enum": sorted(plugins)}, *tables]}


def _arm(strategies: dict[str, Schema], shared: Schema) -> Schema:
    schema = _hoisted(ArmTable.model_json_schema(), "arm", shared)
    schema["properties"]["strategies"]["items"] = _use(strategies)
    for name, settings in sorted(strategies.items()):
        schema["properties"].setdefault(name, settings)
    # A strategy with an id of its own has its settings under that id: any table.
    schema["additionalProperties"] = {"type": "object"}
    return schema
