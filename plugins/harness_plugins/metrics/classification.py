"""Metrics of label tasks. Aggregates are computed here: resampling calls them thousands of times."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from harness.types import EvalContext, Example, Prediction, Record
from harness_plugins.metrics.base import FactMetric, MeanMetric, NotComputable, require_references
from harness_plugins.metrics.text import match_label, normalise


def gold_labels(example: Example, labels: tuple[str, ...]) -> list[str]:
    """The labels that an example's references name."""
    if not labels:
        raise NotComputable("the task has no closed set of labels")
    found = [match_label(reference, labels) for reference in require_references(example)]
    known = [label for label in found if label is not None]
    if not known:
        raise NotComputable(f"the reference {example.references[0]!r:.60} is none of the labels")
    return known


class Accuracy(MeanMetric):
    """Share of answers that are the gold label. An answer is matched to the labels as it stands, else ignoring spaces,
    else case, else surrounding punctuation, underscores and hyphens; an answer that could be several labels is none.
    Without a closed set of labels: equality after SQuAD's normalisation."""

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        if not context.labels:
            gold = {normalise(reference) for reference in require_references(example)}
            return float(normalise(prediction.parsed) in gold)
        return float(match_label(prediction.parsed, context.labels) in gold_labels(example, context.labels))


class _Confusion(FactMetric):
    """Records gold and predicted label; an answer that is no label is None: a miss of the gold label, no class."""

    def facts(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        gold = gold_labels(example, context.labels)
        predicted = match_label(prediction.parsed, context.labels)
        return {"gold": predicted if predicted in gold else gold[0], "predicted": predicted}

    @staticmethod
    def f1_by_label(records: Sequence[Record]) -> tuple[dict[str, float], Counter[str]]:
        pairs = Counter((record["gold"], record["predicted"]) for record in records)
        gold: Counter[str] = Counter()
        predicted: Counter[str] = Counter()
        for (true, guess), count in pairs.items():
            gold[true] += count
            if guess is not None:
                predicted[guess] += count
        labels = sorted(gold.keys() | predicted.keys())
        return {label: 2 * pairs[label, label] / (gold[label] + predicted[label]) for label in labels}, gold


class MacroF1(_Confusion):
    """Mean over labels of F1 = 2 TP / (gold + predicted), every label counting the same, over the labels that occur as
    gold or as prediction (scikit-learn's `f1_score(average="macro")`). An answer that is no label is a miss."""

    def compute(self, records: Sequence[Record]) -> float | None:
        scores, _ = self.f1_by_label(records)
        return math.fsum(scores.values()) / len(scores)


class WeightedF1(_Confusion):
    """Mean over labels of F1, weighted by how often the label is gold (scikit-learn's `f1_score(average="weighted")`).
    An answer that is no label is a miss."""

    def compute(self, records: Sequence[Record]) -> float | None:
        scores, gold = self.f1_by_label(records)
        return math.fsum(scores[label] * count for label, count in gold.items()) / len(records)


class Mcc(_Confusion):
    """Matthews' correlation coefficient for several classes (Gorodkin, 2004; scikit-learn's `matthews_corrcoef`):
    (c n - sum p_k t_k) / sqrt((n² - sum p_k²)(n² - sum t_k²)) with c right answers of n, and t_k gold, p_k predicted
    counts; 1 perfect, 0 no better than chance, and 0 where either side is constant. Answers that are no label are a
    class of their own."""

    def compute(self, records: Sequence[Record]) -> float | None:
        n = len(records)
        right = sum(record["gold"] == record["predicted"] for record in records)
        gold = Counter(record["gold"] for record in records)
        predicted = Counter(record["predicted"] for record in records)
        spread = (n * n - sum(k * k for k in predicted.values())) * (n * n - sum(k * k for k in gold.values()))
        if not spread:
            return 0.0
        return (right * n - sum(count * gold[label] for label, count in predicted.items())) / math.sqrt(spread)
