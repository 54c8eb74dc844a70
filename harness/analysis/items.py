"""Items over arms: which arms disagree on which items, and what became of each answer of the baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.arrays import number
from harness.analysis.rows import RunRows, TrialRows

RIGHT = "correct"


@dataclass(frozen=True)
class Transition:
    """How many items have category `before` with the baseline and `after` with the arm (first seeds)."""

    arm: str
    before: str
    after: str
    count: int


@dataclass(frozen=True)
class Picked:
    """Items for a table, those on which arms disagree first; `disagreeing` and `total` count over the whole run."""

    items: tuple[str, ...]
    disagreeing: int
    total: int


def first_trials(rows: RunRows) -> dict[str, TrialRows]:
    """The trial with the lowest seed that finished, by arm; arms without one are left out."""
    found: dict[str, TrialRows] = {}
    for trial in sorted(rows.trials, key=lambda trial: trial.seed):
        if trial.status == "done":
            found.setdefault(trial.arm, trial)
    return {arm: found[arm] for arm in rows.arms if arm in found}


def transitions(rows: RunRows) -> tuple[Transition, ...]:
    """Of every other arm against the baseline, over items that both have answered, most frequent first."""
    trials = first_trials(rows)
    base = trials.get(rows.baseline)
    if base is None:
        return ()
    result = []
    for arm, trial in trials.items():
        if arm == rows.baseline:
            continue
        counts = Counter(
            (before, trial.categories[item]) for item, before in base.categories.items() if item in trial.categories
        )
        result += [Transition(arm, before, after, count) for (before, after), count in counts.most_common()]
    return tuple(result)


def pick_items(rows: RunRows, most: int = 1000) -> Picked:
    """Items by how far the arms' primary scores lie apart, then by whether their categories differ; the order of the
    test set decides between equals."""
    trials = list(first_trials(rows).values())
    ranked = []
    for place, item in enumerate(rows.items):
        spread = _spread(trials, rows.primary_metric, item)
        kinds = len({trial.categories[item] for trial in trials if item in trial.categories})
        ranked.append((-spread, -int(kinds > 1), place, item))
    ranked.sort()
    disagreeing = sum(spread < 0 or kinds < 0 for spread, kinds, _, _ in ranked)
    return Picked(tuple(item for *_, item in ranked[:most]), disagreeing, len(ranked))


def _spread(trials: Sequence[TrialRows], metric: str, item: str) -> float:
    values = [value_of(trial.records.get(metric, {}), item) for trial in trials]
    known = [value for value in values if value is not None]
    return max(known) - min(known) if len(known) > 1 else 0.0


def value_of(records: Mapping[str, Mapping[str, object]], item: str) -> float | None:
    """The record's "value", where it is a number."""
    return number(records[item].get("value")) if item in records else None
