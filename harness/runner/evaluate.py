"""Scores predictions and puts them into error categories: pure Python over stored texts, no model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.analysis.rows import MetricInfo
from harness.config import Experiment, Use
from harness.exceptions import PluginError
from harness.plugins import Registry
from harness.runner.keys import score_version
from harness.tasks.task import Task
from harness.types import ErrorLabel, EvalContext, Example, Prediction, Record


@dataclass(frozen=True)
class Judge:
    """One metric or classifier, ready to use; `version` identifies code version and settings."""

    id: str
    version: str
    plugin: Any
    spec: Any
    origin: str


def metric_judges(uses: Iterable[Use], registry: Registry) -> list[Judge]:
    """The metrics that an experiment names, constructed with their settings."""
    judges = []
    for use in uses:
        entry = registry.get("metric", use.use)
        version = score_version(entry, use.settings)
        judges.append(Judge(use.id, version, entry.create(use.settings), entry.spec, str(entry.origin)))
    return judges


def metric_infos(judges: Iterable[Judge]) -> list[MetricInfo]:
    """Metrics as the analysis needs them."""
    return [
        MetricInfo(
            name=judge.id,
            aggregate=judge.plugin.aggregate,
            higher_is_better=judge.spec.higher_is_better,
            mean=judge.spec.mean,
            low=judge.spec.low,
            high=judge.spec.high,
        )
        for judge in judges
    ]


class Evaluator:
    """All metrics and classifiers of an experiment over its task."""

    def __init__(self, experiment: Experiment, task: Task, registry: Registry) -> None:
        self.task, self.experiment = task, experiment
        self.metrics = metric_judges(experiment.metrics, registry)
        self.classifiers = [
            Judge(entry.name, score_version(entry, {}), entry.create(), entry.spec, str(entry.origin))
            for entry in registry.of_kind("error classifier")
        ]

    @cached_property
    def examples(self) -> Mapping[str, Example]:
        return {example.id: example for example in self.task.test}

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
            max_new_tokens=self.experiment.generation.max_new_tokens,
            scores=scores,
        )

    def score(self, predictions: Sequence[Prediction], judge: Judge) -> dict[str, Record]:
        """Per-item records of one metric; our own failures ("error") have none."""
        found: dict[str, Record] = {}
        for prediction in predictions:
            if prediction.finish == "error":
                continue
            record = judge.plugin.record(
                prediction, self.examples[prediction.item_id], self.context(prediction.item_id, {})
            )
            if not isinstance(record, Mapping):
                raise PluginError(
                    f"metric '{judge.id}' of {judge.origin} returned {type(record).__name__}, not a record."
                )
            json.dumps(record)  # a record that cannot be stored is the plugin's fault: say so here
            found[prediction.item_id] = record
        return found

    def classify(
        self, predictions: Sequence[Prediction], judge: Judge, scores: Mapping[str, Mapping[str, Record]]
    ) -> dict[str, Sequence[ErrorLabel]]:
        """Categories by item of one classifier; `scores[metric][item]` are the records found before."""
        found: dict[str, Sequence[ErrorLabel]] = {}
        for prediction in predictions:
            if prediction.finish == "error":
                continue
            item = prediction.item_id
            values = {metric: records[item].get("value") for metric, records in scores.items() if item in records}
            found[item] = judge.plugin.classify(prediction, self.examples[item], self.context(item, values))
        return found
