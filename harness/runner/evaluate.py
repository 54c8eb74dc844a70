"""Scores predictions and puts them into error categories: pure Python over stored texts, no model."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from harness.analysis.rows import MetricInfo
from harness.config import Use
from harness.exceptions import PluginError
from harness.guard import Lent, blamed, expect, limited
from harness.plugins import Registry
from harness.runner.keys import score_version
from harness.tables import GenerationTable
from harness.tasks.task import Task
from harness.tasks.vocabulary import Vocabulary, task_texts
from harness.types import ErrorLabel, EvalContext, Example, Prediction, Preparing, Record

if TYPE_CHECKING:
    from harness.runner.late import Measured


@dataclass(frozen=True)
class Judge:
    """One metric or classifier, ready to use; `version` identifies code version and settings."""

    id: str
    version: str
    plugin: Any
    spec: Any
    origin: str


def judges(kind: str, uses: Iterable[Use], registry: Registry) -> list[Judge]:
    """The metrics or error classifiers that an experiment names, constructed with their settings."""
    found = []
    for use in uses:
        entry = registry.get(kind, use.use)
        version = score_version(entry, use.settings)
        found.append(Judge(use.id, version, entry.create(use.settings), entry.spec, str(entry.origin)))
    return found


def metric_infos(metrics: Iterable[Judge]) -> list[MetricInfo]:
    """Metrics as the analysis needs them."""
    return [
        MetricInfo(
            name=judge.id,
            aggregate=_aggregate(judge),
            higher_is_better=judge.spec.higher_is_better,
            mean=judge.spec.mean,
            low=judge.spec.low,
            high=judge.spec.high,
            from_answers=not getattr(judge.spec, "measures", ""),
        )
        for judge in metrics
    ]


def _aggregate(judge: Judge) -> Callable[[Sequence[Record]], float | None]:
    """The metric's aggregate for the analysis: None (unknown) where it raises. Every trial has proved it on its own
    records by then, so what is left are odd resamples, and those must not cost the report."""

    def aggregate(records: Sequence[Record]) -> float | None:
        try:
            value = judge.plugin.aggregate(records)
        except Exception:
            return None
        return None if value is None else float(value)

    return aggregate


class Criteria(Protocol):
    """What judges a run: an experiment, or what is stored of one."""

    @property
    def metrics(self) -> Sequence[Use]: ...

    @property
    def errors(self) -> Sequence[Use]: ...

    @property
    def generation(self) -> GenerationTable: ...


class Evaluator:
    """All metrics and classifiers of an experiment over its task."""

    def __init__(
        self,
        criteria: Criteria,
        task: Task,
        registry: Registry,
        *,
        vocabulary: Vocabulary | None = None,
        limit_s: float | None = None,
    ) -> None:
        self.task, self.criteria, self.limit_s = task, criteria, limit_s
        self.vocabulary = vocabulary or Vocabulary(lambda: task_texts(task))
        self._gold = pickle.dumps(task.test)
        self._lent: Lent | None = None
        self.metrics = judges("metric", criteria.metrics, registry)
        self.classifiers: list[Judge] = []
        self.unusable: list[str] = []  # classifiers come unasked: one that is broken costs its categories, no more
        for use in criteria.errors:
            try:
                with blamed(registry.get("error classifier", use.use).label, "starting"):
                    self.classifiers += judges("error classifier", [use], registry)
            except PluginError as error:
                self.unusable.append(error.message)

    @cached_property
    def examples(self) -> Mapping[str, Example]:
        return {example.id: example for example in pickle.loads(self._gold)}

    @contextmanager
    def _judging(self, label: str, predictions: Sequence[Prediction]) -> Iterator[None]:
        """Names a judge that raises, hangs or changes what it was lent; changed gold is replaced."""
        try:
            lent = self._lent_to_all(predictions)
            with lent.untouched(label, "judging"), limited(label, "judging", self.limit_s), blamed(label, "judging"):
                yield
        except PluginError:  # whatever it did to what it was lent before it failed
            self.__dict__.pop("examples", None)  # the cached property: read afresh
            self._lent = None
            raise

    def _lent_to_all(self, predictions: Sequence[Prediction]) -> Lent:
        """The answers and their gold. The judges take turns on the same answers, which are read once for each."""
        lent = self._lent
        if lent is None or [*map(id, lent.values["predictions"])] != [*map(id, predictions)]:
            examples = [self.examples[prediction.item_id] for prediction in predictions]
            lent = self._lent = Lent(predictions=[*predictions], examples=examples)
        return lent

    @property
    def versions(self) -> dict[str, dict[str, str]]:
        return {
            "metrics": {judge.id: judge.version for judge in self.metrics},
            "classifiers": {judge.id: judge.version for judge in self.classifiers},
        }

    def context(self, item_id: str, scores: Mapping[str, float | None]) -> EvalContext:
        return EvalContext(
            readout=self.task.readout,
            labels=self.task.labels,
            input=self.task.inputs.get(item_id, ""),
            max_new_tokens=self.criteria.generation.max_new_tokens,
            scores=scores,
            vocabulary=self.vocabulary,
        )

    def score(
        self, predictions: Sequence[Prediction], judge: Judge, measured: Measured | None = None
    ) -> dict[str, Record]:
        """Per-item records of one metric; our own failures ("error") have none. `measured`: what was, for it."""
        found: dict[str, Record] = {}
        label = f"metric '{judge.id}' of {judge.origin}"
        with self._judging(label, predictions):
            if isinstance(judge.plugin, Preparing):
                judge.plugin.prepare(predictions, [self.examples[prediction.item_id] for prediction in predictions])
            for prediction in predictions:
                if prediction.finish == "error":
                    continue
                item = prediction.item_id
                context = self.context(item, {})
                if measured is not None:
                    context = measured.told(context, item)
                record = judge.plugin.record(prediction, self.examples[item], context)
                found[item] = expect(label, f"judging '{item}'", record, Mapping)
            # A record that cannot be stored, NaN included, is the plugin's fault: say so here.
            json.dumps([*found.values()], allow_nan=False)
            value = judge.plugin.aggregate(list(found.values())) if found else None
            if value is not None:
                float(value)  # what is no number fails here, with the metric's name, and not in the report
        return found

    def classify(
        self, predictions: Sequence[Prediction], judge: Judge, scores: Mapping[str, Mapping[str, Record]]
    ) -> dict[str, Sequence[ErrorLabel]]:
        """Categories by item of one classifier; `scores[metric][item]` are the records found before."""
        found: dict[str, Sequence[ErrorLabel]] = {}
        label = f"error classifier '{judge.id}' of {judge.origin}"
        with self._judging(label, predictions):
            for prediction in predictions:
                if prediction.finish == "error":
                    continue
                item = prediction.item_id
                values = {metric: records[item].get("value") for metric, records in scores.items() if item in records}
                labels = judge.plugin.classify(prediction, self.examples[item], self.context(item, values))
                for category in expect(label, f"judging '{item}'", labels, Sequence):
                    expect(label, f"judging '{item}'", category, ErrorLabel)
                found[item] = labels
        return found
