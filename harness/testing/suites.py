"""Which promises a plugin makes: those of every plugin and those of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.exceptions import PluginError
from harness.plugin_reference import config_of, find
from harness.plugins import Registered, Registry, load_plugins
from harness.testing import contract_any, contract_evals, contract_others, contract_retriever, contract_strategy
from harness.testing.promise import PROMISES, Promise, Subject

MODULES = (contract_any, contract_strategy, contract_evals, contract_retriever, contract_others)


def promises(name: str, settings: Mapping[str, Any] | None = None, *, kind: str | None = None) -> list[Promise]:
    """The promises of the installed plugin(s) of that name; PluginError with the nearest name when there is none."""
    registry = load_plugins()
    found = [entry for entry in find(registry, name) if kind in (None, entry.kind)]
    return [promise for entry in found for promise in promises_of(entry, registry, settings)]


def promises_of(entry: Registered, registry: Registry, settings: Mapping[str, Any] | None = None) -> list[Promise]:
    """The promises of one plugin, with given settings; required ones default to the first of their `examples`."""
    try:
        config = config_of(entry)
    except PluginError:  # a class that cannot be imported breaks its first promise, with the reason
        config = None
    fields = config.model_fields if config is not None else {}
    examples = {name: field.examples[0] for name, field in fields.items() if field.is_required() and field.examples}
    subject = Subject(entry, registry, {**examples, **(settings or {})})
    kinds = ("any", "settings", entry.kind) if config is not None else ("any", entry.kind)
    return [Promise(subject, check) for kind in kinds for check in PROMISES.get(kind, ())]
