"""Two runs against each other, arm by arm on the items that both have; and the gate that is built on it.

The gate asks of every arm: is it shown to have lost more than is allowed (fail), shown not to have (pass), or neither
(open)? The intervals of k arms hold together: each is made at 1 - 0.05/k (Bonferroni), so that arms that did not
change fail the gate in at most 2.5 % of runs altogether, however many they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.analysis.arrays import cluster_codes
from harness.analysis.intervals import LEVEL
from harness.analysis.measure import Measure
from harness.analysis.paired import as_change
from harness.analysis.result import Interval, PairedChange
from harness.analysis.rows import MetricInfo, RunRows, TrialRows

BEFORE, AFTER = "before", "after"
State = Literal["pass", "fail", "open"]


@dataclass(frozen=True)
class ArmAcross:
    """One arm in two runs. `change` is after minus before on common items; `low`/`high` hold for all arms together."""

    arm: str
    before: Interval
    after: Interval
    change: PairedChange | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Across:
    """`items`: test items that both runs have, with the same content. `notes`: what makes the comparison weaker."""

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    metric: str
    higher_is_better: bool
    items: int
    arms: tuple[ArmAcross, ...]
    only_before: tuple[str, ...] = ()
    only_after: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class GateCheck:
    """One arm at the gate, with a sentence."""

    arm: str
    state: State
    reason: str


@dataclass(frozen=True)
class GateResult:
    """`state`: "fail" if any arm fails, else "open" if any is open, else "pass"."""

    state: State
    max_drop: float
    checks: tuple[GateCheck, ...]
    across: Across

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def across(
    before: RunRows,
    after: RunRows,
    *,
    metric: str | None = None,
    arms: Sequence[str] | None = None,
    same: frozenset[str] | None = None,
) -> Across:
    """Compares `arms` (default: those that both runs have) by `metric` (default: the later run's primary one).

    `same` are the items whose content is the same in both runs (default: all with the same id).
    """
    name = metric or after.primary_metric
    info = _metric(name, before, after)
    items = {
        item: group for item, group in after.items.items() if item in before.items and (same is None or item in same)
    }
    wanted = list(arms) if arms is not None else [arm for arm in after.arms if arm in before.arms]
    trials = {(BEFORE, arm): _done(before, arm) for arm in wanted} | {(AFTER, arm): _done(after, arm) for arm in wanted}
    codes = cluster_codes(list(items.values())) if after.grouped else None
    measure = Measure(info, {f"{side} {arm}": rows for (side, arm), rows in trials.items()}, tuple(items), codes)
    level = 1 - (1 - LEVEL) / max(len(wanted), 1)
    return Across(
        before=before.run,
        after=after.run,
        metric=name,
        higher_is_better=info.higher_is_better,
        items=len(items),
        arms=tuple(_arm(measure, arm, level) for arm in wanted),
        only_before=tuple(arm for arm in before.arms if arm not in after.arms),
        only_after=tuple(arm for arm in after.arms if arm not in before.arms),
        notes=tuple(_notes(before, after, len(items), name)),
    )


def _metric(name: str, before: RunRows, after: RunRows) -> MetricInfo:
    known = {metric.name: metric for metric in (*before.metrics, *after.metrics)}
    return known.get(name) or MetricInfo(name, lambda records: None)


def _done(rows: RunRows, arm: str) -> list[TrialRows]:
    return sorted((t for t in rows.trials if t.arm == arm and t.status == "done"), key=lambda trial: trial.seed)


def _arm(measure: Measure, arm: str, level: float) -> ArmAcross:
    old, new = f"{BEFORE} {arm}", f"{AFTER} {arm}"
    intervals = measure.interval(old), measure.interval(new)
    for side, interval in zip((BEFORE, AFTER), intervals, strict=True):
        if not measure.trials[f"{side} {arm}"]:
            return ArmAcross(arm, *intervals, None, note=f"no finished trial in the run {side}")
        if interval.value is None:
            return ArmAcross(arm, *intervals, None, note=f"no {measure.metric.name} in the run {side}")
    found = measure.difference(new, old)
    if found is None:
        return ArmAcross(arm, *intervals, None, note="no item in common")
    low, high = found.interval(level)
    single = found.units < 2 and found.method != "identical predictions"
    note = "one item or group only: no interval" if single else ""
    return ArmAcross(arm, *intervals, as_change(found), None if single else low, None if single else high, note)


def _notes(before: RunRows, after: RunRows, items: int, metric: str) -> list[str]:
    notes = []
    if items < max(len(before.items), len(after.items)):
        notes.append(
            f"{items:,} test items are the same in both runs (of {len(before.items):,} before and "
            f"{len(after.items):,} after); only those are compared."
        )
    for what, title in (("model", "The model"), ("machine", "The machine")):
        one, two = before.run.get(what) or {}, after.run.get(what) or {}
        key = "digest" if what == "model" else "processor"
        if one.get(key) != two.get(key):
            notes.append(f"{title} is not the same in both runs.")
    versions = [(rows.run.get("score_versions") or {}).get("metrics", {}).get(metric) for rows in (before, after)]
    if versions[0] != versions[1]:
        notes.append(f"{metric} was computed by another version or with other settings in each run.")
    return notes


def gate(found: Across, max_drop: float) -> GateResult:
    """Judges every arm. A drop is against the direction in which the metric is good."""
    checks = tuple(_check(arm, found, max_drop) for arm in found.arms)
    states = {check.state for check in checks}
    state: State = "fail" if "fail" in states else "open" if "open" in states or not checks else "pass"
    return GateResult(state, max_drop, checks, found)


def _check(arm: ArmAcross, found: Across, max_drop: float) -> GateCheck:
    if arm.low is None or arm.high is None or arm.change is None or arm.change.value is None:
        return GateCheck(arm.arm, "open", arm.note or "the change is unknown")
    value, low, high = arm.change.value, arm.low, arm.high
    gain = (low, high) if found.higher_is_better else (-high, -low)
    seen = f"{found.metric} changed by {value:+.3f} [{low:+.3f}, {high:+.3f}] on {arm.change.n:,} items"
    if gain[1] < -max_drop:
        return GateCheck(arm.arm, "fail", f"{seen}: it got worse by more than {max_drop:g}")
    if gain[0] >= -max_drop - 1e-12:
        return GateCheck(arm.arm, "pass", f"{seen}: it did not get worse by more than {max_drop:g}")
    return GateCheck(arm.arm, "open", f"{seen}: whether it got worse by more than {max_drop:g} is open")
