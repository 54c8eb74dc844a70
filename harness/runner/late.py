"""Metrics that are asked when all answers of a trial are there, and what they want measured: the coordinator's side.

They are those that prepare many answers at once, which would slow down a model that is answering, and those that need
more of the model than its answers. Neither costs a trial its answers: what cannot be measured is unknown, and says why.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from harness.exceptions import PluginError
from harness.guard import blamed
from harness.measures import KINDS, Measure, measure_key
from harness.runner.evaluate import Evaluator, Judge
from harness.store.measurements import measurements
from harness.store.writer import Store
from harness.types import EvalContext, Preparing, Record

NOT_BY_RESCORING = (
    "it was not measured, and re-scoring runs no model: `harness run FILE`, with the metric in FILE, measures it "
    "without predicting again"
)


@dataclass(frozen=True)
class Wanted:
    """What one metric wants measured."""

    kind: str
    settings: Measure

    @property
    def key(self) -> str:
        return measure_key(self.kind, self.settings)


def wanted(judge: Judge) -> Wanted | None:
    """None for a metric that needs the answers only; PluginError for settings that the kind does not know."""
    kind = getattr(judge.spec, "measures", "")
    if not kind:
        return None
    label = f"metric '{judge.id}' of {judge.origin}"
    with blamed(label, "saying what it wants measured"):
        settings = judge.plugin.measurement()
    try:
        return Wanted(kind, KINDS[kind](**settings))
    except (TypeError, ValidationError) as error:
        why = "; ".join(line.strip() for line in str(error).splitlines()[1:3]) or str(error)
        hint = f"Settings of {kind}: {', '.join(KINDS[kind].model_fields)}; see harness.measures."
        raise PluginError(f"{label} wants '{kind}' measured with settings that do not fit: {why}", hint=hint) from None


def is_late(judge: Judge) -> bool:
    return bool(getattr(judge.spec, "measures", "")) or isinstance(judge.plugin, Preparing)


@dataclass(frozen=True)
class Measured:
    """What is there for one metric: values by item of those `chosen`, and why others have none."""

    values: Mapping[str, Mapping[str, Any]]
    chosen: Container[str]
    why: str

    def told(self, context: EvalContext, item: str) -> EvalContext:
        """The context with the item's value, or with the reason for having none."""
        if item in self.values:
            return replace(context, measured=self.values[item])
        return replace(context, unmeasured=self.why if item in self.chosen else "it lies beyond the metric's limit")


class LateMetrics:
    """The late ones of an evaluator's metrics, over stored trials. `why`: what to say of an item that has not been
    measured and for which nobody tried."""

    def __init__(self, evaluator: Evaluator, store: Store, why: str = "it has not been measured") -> None:
        self.evaluator, self.store, self.why = evaluator, store, why
        self.judges = [judge for judge in evaluator.metrics if is_late(judge)]
        self.wanted = {judge.id: want for judge in self.judges if (want := wanted(judge)) is not None}
        self.items = [example.id for example in evaluator.task.test]

    def of(self, only: str | None) -> list[Judge]:
        """All late metrics, or `only` that one: a point of a learning curve shows the deciding metric alone."""
        return [judge for judge in self.judges if only in (None, judge.id)]

    def key(self, judge: Judge) -> str:
        """The key of what the metric has measured; empty where that is nothing."""
        return self.wanted[judge.id].key if judge.id in self.wanted else ""

    def due(self, trial_id: int, judges: Iterable[Judge]) -> list[tuple[Wanted, set[str]]]:
        """What is still to be measured, each with the items that have it already; the same for two metrics once."""
        found = {}
        for want in (self.wanted[judge.id] for judge in judges if judge.id in self.wanted):
            done = set(measurements(self.store, trial_id, want.kind, want.key))
            if set(want.settings.chosen(self.items)) - done:
                found[want.key] = (want, done)
        return list(found.values())

    def spec(self, want: Wanted, done: set[str], adaptation: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """What a worker is sent. The gold travels only now, to be scored and not to be answered with."""
        chosen = want.settings.chosen(self.items)
        examples = self.evaluator.examples
        gold = {item: list(examples[item].references) for item in chosen} if want.kind == "gold_likelihoods" else {}
        return {
            "kind": "measure",
            "measure": want.kind,
            "key": want.key,
            "settings": want.settings.model_dump(mode="json"),
            "items": chosen,
            "done": sorted(done),
            "references": gold,
            "adaptation": adaptation,
            "seed": seed,
        }

    def score(self, trial_id: int, judge: Judge, failed: str = "") -> dict[str, Record]:
        """Stores and returns the records that are new: of answers without one, and of those that had no value because
        something was not measured. `failed`: why measuring has failed now. PluginError where the metric fails."""
        before = self.store.score_records(trial_id, judge.id, judge.version)
        measured = self._measured(trial_id, judge, failed)
        ripe: set[str] = set()
        if measured is not None:
            unknown = {item for item, record in before.items() if record.get("reason")}
            ripe = unknown if failed else unknown & measured.values.keys()
        todo = [
            prediction
            for prediction in self.store.predictions(trial_id)
            if prediction.finish != "error" and (prediction.item_id not in before or prediction.item_id in ripe)
        ]
        records = self.evaluator.score(todo, judge, measured) if todo else {}
        new = {item: record for item, record in records.items() if before.get(item) != record}
        self.store.add_scores(trial_id, judge.id, judge.version, new)
        return new

    def _measured(self, trial_id: int, judge: Judge, failed: str) -> Measured | None:
        if (want := self.wanted.get(judge.id)) is None:
            return None
        values = measurements(self.store, trial_id, want.kind, want.key)
        return Measured(values, frozenset(want.settings.chosen(self.items)), failed or self.why)
