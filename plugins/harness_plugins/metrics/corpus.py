"""BLEU and chrF over the whole corpus, from summed statistics of the items, through sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.types import EvalContext, Example, Prediction, Record
from harness_plugins.metrics.base import FactMetric, require_references


class _Sacrebleu(FactMetric):
    """Records sacrebleu's sufficient statistics of an item. (They come from an underscored method, the one that every
    metric of sacrebleu implements; the tests hold the result against the public `corpus_score`.)"""

    metric: Any

    def facts(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        references = [[reference] for reference in require_references(example)]
        (statistics,) = self.metric._extract_corpus_statistics([prediction.parsed], references)
        return {"statistics": [int(number) for number in statistics]}

    def compute(self, records: Sequence[Record]) -> float | None:
        total = [sum(column) for column in zip(*(record["statistics"] for record in records), strict=True)]
        return float(self.metric._compute_score_from_stats(total).score)


class Bleu(_Sacrebleu):
    """BLEU (Papineni et al., 2002) by sacrebleu (Post, 2018): brevity penalty times the geometric mean of the corpus's
    1- to 4-gram precisions, 0 to 100; tokenizer 13a, exponential smoothing, case counts. No value when no reference has
    four words: then not even the gold answers could score."""

    def __init__(self) -> None:
        from sacrebleu.metrics import BLEU

        self.metric = BLEU()

    def compute(self, records: Sequence[Record]) -> float | None:
        # The second statistic is the length of the closest reference.
        if max(record["statistics"][1] for record in records) < self.metric.max_ngram_order:
            return None
        return super().compute(records)


class Chrf(_Sacrebleu):
    """chrF2 (Popović, 2015) by sacrebleu (Post, 2018): F-score, recall weighted twice, of the corpus's character 1- to
    6-grams without spaces, 0 to 100; the best reference of each item. Reads every script. No value when no reference
    has a character."""

    def __init__(self) -> None:
        from sacrebleu.metrics import CHRF

        self.metric = CHRF()

    def compute(self, records: Sequence[Record]) -> float | None:
        # The second statistic is the number of the reference's single characters.
        if not any(record["statistics"][1] for record in records):
            return None
        return super().compute(records)
