"""From a stored run to its comparison."""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis.comparison import compare
from harness.analysis.result import Comparison
from harness.analysis.rows import RunRows
from harness.config import Use
from harness.exceptions import PluginError
from harness.plugins import Registry, load_plugins
from harness.runner.evaluate import judges, metric_infos
from harness.store.database import Store
from harness.store.queries import run_rows


@dataclass(frozen=True)
class Analysed:
    """A run's rows and what follows from them."""

    rows: RunRows
    comparison: Comparison


def load(store: Store, reference: str | None, registry: Registry | None = None) -> Analysed:
    """A run (id, beginning of an id, name, or None for the latest) with its comparison, computed from its rows."""
    rows = load_rows(store, reference, registry)
    return Analysed(rows, compare(rows))


def load_rows(store: Store, reference: str | None, registry: Registry | None = None) -> RunRows:
    """The rows of a run, with its own metrics, prices and decision."""
    run = store.resolve_run(reference)
    uses = [Use(**use) for use in run.config_resolved["task"]["metrics"]]
    try:
        infos = metric_infos(judges("metric", uses, registry or load_plugins()))
    except PluginError as error:
        if not (local := run.config_resolved.get("plugins")):
            raise
        hint = f"The run used local plugins ({', '.join(local)}): run its file again; no stored trial is repeated."
        raise PluginError(error.message, hint=hint) from error
    return run_rows(store, run.id, infos)


def analyse(store: Store, reference: str | None, registry: Registry | None = None) -> Comparison:
    """The comparison of a run."""
    return load(store, reference, registry).comparison
