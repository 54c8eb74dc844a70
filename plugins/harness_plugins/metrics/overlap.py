"""Agreement of an answer's words or characters with the references."""

from __future__ import annotations

from harness.types import EvalContext, Example, Prediction
from harness_plugins.metrics.base import MeanMetric, require_references
from harness_plugins.metrics.text import best_over_references, contains, normalise, overlap_f1, plain


class _BestReference(MeanMetric):
    """The best score against any reference."""

    @staticmethod
    def score(text: str, reference: str) -> float:
        raise NotImplementedError

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        return best_over_references(self.score, prediction.parsed, require_references(example))


class ExactMatch(_BestReference):
    """1 when the normalised answer equals any normalised reference, else 0. Normalisation is that of SQuAD's script
    (Rajpurkar et al., 2016), with the differences that `harness_plugins.metrics.text` lists. An empty answer is right
    only where a reference is empty."""

    @staticmethod
    def score(text: str, reference: str) -> float:
        return float(normalise(text) == normalise(reference))


class Contains(_BestReference):
    """1 when any normalised reference occurs in the normalised answer as whole words, else 0: the right answer is said,
    whatever stands around it. (Known as "accuracy" in open-domain QA with long answers, e.g. Mallen et al., 2023.)"""

    @staticmethod
    def score(text: str, reference: str) -> float:
        return float(contains(text, reference))


class TokenF1(_BestReference):
    """SQuAD's F1 (Rajpurkar et al., 2016): with c common tokens, counted with repetition, between the normalised answer
    (p tokens) and reference (r tokens), F1 = 2c / (p + r); the best over the references. Two empty texts agree."""

    @staticmethod
    def score(text: str, reference: str) -> float:
        return overlap_f1(text, reference)


class EditSimilarity(_BestReference):
    """1 - d / max(len), d being the Levenshtein distance in characters between answer and reference (rapidfuzz's
    `Levenshtein.normalized_similarity`), the best over the references. Spaces are collapsed and invisible characters
    dropped first; case and punctuation count."""

    def __init__(self) -> None:
        from rapidfuzz.distance import Levenshtein

        self.similarity = Levenshtein.normalized_similarity

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        text = plain(prediction.parsed)
        return max(float(self.similarity(text, plain(reference))) for reference in require_references(example))
