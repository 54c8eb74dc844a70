"""From two stored runs to their comparison."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.across import Across, across
from harness.exceptions import HarnessError, nearest
from harness.plugins import load_plugins
from harness.runner.analyse import load_rows
from harness.store.answers import same_items
from harness.store.database import Store


def load_across(
    store: Store, before: str, after: str, *, metric: str | None = None, arms: Sequence[str] = ()
) -> Across:
    """Compares two runs of one database; refuses arms and metrics that neither or only one of them has."""
    registry = load_plugins()
    one, two = load_rows(store, before, registry), load_rows(store, after, registry)
    if metric is not None:
        known = [info.name for info in two.metrics]
        if metric not in known or metric not in [info.name for info in one.metrics]:
            where = "the later run" if metric not in known else "the earlier run"
            raise HarnessError(f"{where} has no metric '{metric}'.", hint=nearest(metric, known))
    common = [arm for arm in two.arms if arm in one.arms]
    for arm in arms:
        if arm not in common:
            raise HarnessError(f"arm '{arm}' is not in both runs.", hint=nearest(arm, common))
    if not common:
        names = f"{', '.join(one.arms)}; and {', '.join(two.arms)}"
        raise HarnessError("the two runs have no arm in common.", hint=f"Arms are matched by name: {names}.")
    same = same_items(store, str(one.run["id"]), str(two.run["id"]))
    return across(one, two, metric=metric, arms=list(arms) or None, same=same)
