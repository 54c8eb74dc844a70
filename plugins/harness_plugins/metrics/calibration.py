"""Whether probabilities mean what they say. Probabilities are the softmax of the labels' scores: their
log-likelihoods, with the readout's length normalisation and calibration applied."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from harness.types import EvalContext, Example, Prediction, Record
from harness_plugins.metrics.base import FactMetric, MeanMetric, NotComputable
from harness_plugins.metrics.classification import gold_labels


def label_probabilities(prediction: Prediction) -> dict[str, float]:
    """Softmax over the labels' scores; raises NotComputable where there are none to normalise."""
    scores = prediction.label_scores
    if not scores:
        raise NotComputable("the answer has no label scores")
    top = max(scores.values())
    if not math.isfinite(top) or any(math.isnan(score) for score in scores.values()):
        raise NotComputable("a label score is not a number, or all are infinite")
    weights = {label: math.exp(score - top) for label, score in scores.items()}
    total = math.fsum(weights.values())
    return {label: weight / total for label, weight in weights.items()}


def _gold(example: Example, probabilities: dict[str, float]) -> list[str]:
    return gold_labels(example, tuple(probabilities))


class Ece(FactMetric):
    """Expected calibration error (Naeini et al., 2015; Guo et al., 2017): items are put into `bins` equal bins (low,
    high] by the probability of the likeliest label; ECE is the mean over items of |share right - mean probability| of
    the item's bin. 0 is perfect. Needs label scores (readout "choose")."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        bins: int = Field(15, ge=1, le=1000, description="Number of equal bins of the probability.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def facts(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        probabilities = label_probabilities(prediction)
        gold = _gold(example, probabilities)
        likeliest = max(probabilities, key=probabilities.__getitem__)
        return {"confidence": probabilities[likeliest], "correct": likeliest in gold}

    def compute(self, records: Sequence[Record]) -> float | None:
        gaps: dict[int, float] = {}
        for record in records:
            confidence = record["confidence"]
            place = math.ceil(confidence * self.config.bins)
            gaps[place] = gaps.get(place, 0.0) + record["correct"] - confidence
        return math.fsum(abs(gap) for gap in gaps.values()) / len(records)


class Brier(MeanMetric):
    """Brier score (Brier, 1950), in its original form for several classes: sum over labels of (p - y)², y being 1 for
    the gold label and 0 otherwise; 0 is perfect, 2 is certain and wrong (scikit-learn's `brier_score_loss` with
    `scale_by_half=False`). Needs label scores (readout "choose")."""

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        probabilities = label_probabilities(prediction)
        # Where several labels are right, the likeliest of them is the one that was to be said.
        gold = max(_gold(example, probabilities), key=probabilities.__getitem__)
        return math.fsum((p - (label == gold)) ** 2 for label, p in probabilities.items())
