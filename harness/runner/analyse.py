"""From a stored run to its comparison."""

from __future__ import annotations

from harness.analysis.comparison import compare
from harness.analysis.result import Comparison
from harness.config import Use
from harness.exceptions import PluginError
from harness.plugins import Registry, load_plugins
from harness.runner.evaluate import metric_infos, metric_judges
from harness.store.database import Store
from harness.store.queries import run_rows


def analyse(store: Store, reference: str | None, registry: Registry | None = None) -> Comparison:
    """The comparison of a run (id, beginning of an id, name, or None for the latest), computed from its rows."""
    run = store.resolve_run(reference)
    uses = [Use(**use) for use in run.config_resolved["task"]["metrics"]]
    try:
        infos = metric_infos(metric_judges(uses, registry or load_plugins()))
    except PluginError as error:
        if not (local := run.config_resolved.get("plugins")):
            raise
        hint = f"The run used local plugins ({', '.join(local)}): run its file again; no stored trial is repeated."
        raise PluginError(error.message, hint=hint) from error
    return compare(run_rows(store, run.id, infos))
