"""ROUGE through rouge-score's tokens and stems.

The counting is done here because rouge-score computes the longest common subsequence in a Python table, quadratic in
the answer: 100,000 predictions of 300 words would take minutes, and so would one of 100,000 characters. rapidfuzz
computes the same length bit-parallel. The tests hold every value against rouge-score's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.types import EvalContext, Example, Prediction
from harness_plugins.metrics.base import MeanMetric, NotComputable, require_references
from harness_plugins.metrics.text import CACHED_CHARACTERS, CACHED_TEXTS

# nltk's Porter stemmer recurses over a run of "y", one level a letter: such a "word" would end in a RecursionError.
LONGEST_STEMMED_WORD = 100


class _Stemmer:
    """nltk's Porter stemmer, as rouge-score uses it, with a memory."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = lru_cache(65536)(self._stem)
        self.porter = PorterStemmer()

    def _stem(self, word: str) -> str:
        return str(self.porter.stem(word)) if len(word) <= LONGEST_STEMMED_WORD else word


@lru_cache(1)
def _tokenizer() -> tuple[Callable[[str], tuple[str, ...]], Callable[[str], tuple[str, ...]]]:
    """rouge-score's tokenizer, plain and with a memory; one for all metrics here, so that they share the work."""
    from rouge_score.tokenize import tokenize

    stemmer = _Stemmer()

    def tokens(text: str) -> tuple[str, ...]:
        return tuple(tokenize(text, stemmer))

    return tokens, lru_cache(CACHED_TEXTS)(tokens)


def rouge_tokens(text: str) -> tuple[str, ...]:
    long, short = _tokenizer()
    return short(text) if len(text) <= CACHED_CHARACTERS else long(text)


def _f1(common: int, predicted: int, gold: int) -> float:
    if not common:
        return 0.0
    precision, recall = common / predicted, common / gold
    return 2 * precision * recall / (precision + recall)


def _grams(tokens: Sequence[str], n: int) -> list[Any]:
    return list(tokens) if n == 1 else list(zip(*(tokens[i:] for i in range(n)), strict=False))


class _Rouge(MeanMetric):
    """Best F-measure over the references that have enough words; no value where none has."""

    words = 1

    def __init__(self) -> None:
        _tokenizer()  # rouge-score takes most of a second to import: not in the middle of scoring

    def score(self, text: str, reference: str) -> float:
        raise NotImplementedError

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        usable = [r for r in require_references(example) if len(rouge_tokens(r)) >= self.words]
        if not usable:
            few = (
                "no word in a-z and 0-9, all that ROUGE reads" if self.words == 1 else f"fewer than {self.words} words"
            )
            raise NotComputable(f"the reference has {few}")
        return max(self.score(prediction.parsed, reference) for reference in usable)


class Rouge1(_Rouge):
    """ROUGE-1 (Lin, 2004): F-measure of common words, counted with repetition, after rouge-score's tokenizer (a-z, 0-9)
    and Porter stemmer; the best over the references. A reference that leaves no words has no value, not 0."""

    def score(self, text: str, reference: str) -> float:
        ours, gold = _grams(rouge_tokens(text), self.words), _grams(rouge_tokens(reference), self.words)
        left = Counter(gold)
        common = sum(min(count, left[gram]) for gram, count in Counter(ours).items() if gram in left)
        return _f1(common, len(ours), len(gold))


class Rouge2(Rouge1):
    """ROUGE-2 (Lin, 2004): F-measure of common word pairs, otherwise as ROUGE-1. A reference of one word has no pairs,
    so not even the gold answer could score: such an item has no value (rouge-score itself says 0)."""

    words = 2


class RougeL(_Rouge):
    """ROUGE-L (Lin, 2004): F-measure of the longest common subsequence of words, otherwise as ROUGE-1. Line breaks do
    not matter. Exact for texts of any length: the subsequence's length is rapidfuzz's `LCSseq.similarity`."""

    def __init__(self) -> None:
        from rapidfuzz.distance import LCSseq

        super().__init__()
        self.common = LCSseq.similarity

    def score(self, text: str, reference: str) -> float:
        ours, gold = rouge_tokens(text), rouge_tokens(reference)
        return _f1(int(self.common(ours, gold)), len(ours), len(gold))


class RougeLsum(RougeL):
    """ROUGE-Lsum (Lin, 2004, section 3.2; rouge-score's form): each line is a sentence; for each reference line the
    union of its longest common subsequences with all answer lines; F-measure over all words. With one line on both
    sides it equals ROUGE-L. Quadratic, so only the first `max_tokens` words of either text are read."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        max_tokens: int = Field(1000, ge=1, description="Words of answer and reference that are read.")

    def __init__(self, config: Config) -> None:
        from rouge_score.rouge_scorer import _summary_level_lcs

        super().__init__()
        self.config = config
        self.union = _summary_level_lcs

    def _lines(self, text: str) -> list[list[str]]:
        left, lines = self.config.max_tokens, []
        for line in text.split("\n"):
            tokens = list(rouge_tokens(line))[:left] if line and left else []
            left -= len(tokens)
            if tokens:
                lines.append(tokens)
        return lines

    def score(self, text: str, reference: str) -> float:
        ours, gold = self._lines(text), self._lines(reference)
        if len(ours) == len(gold) == 1:
            return _f1(int(self.common(ours[0], gold[0])), len(ours[0]), len(gold[0]))
        return float(self.union(gold, ours).fmeasure)
