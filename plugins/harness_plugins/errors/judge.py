"""Whether an answer is right: the facts that all error classifiers share. The rule stands in `harness.taxonomy`."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from harness.types import EvalContext, Example, Prediction
from harness_plugins.metrics.text import (
    CACHED_CHARACTERS,
    best_over_references,
    contains,
    match_label,
    mentioned_labels,
    normalise,
    overlap_f1,
)

MAX_PERIOD = 20


@dataclass(frozen=True)
class Limits:
    """Thresholds that decide whether an answer is right; see the settings of `Surface` for what they mean."""

    verbose_ratio: float = 3.0
    verbose_words: int = 10
    loop_repeats: int = 3
    loop_words: int = 6


@dataclass(frozen=True)
class Judgement:
    """`exact` and `contained` as the metrics define them, `words` and `reference_words` (of the longest reference)
    after normalisation, `verbose` and `loop` as evidence or "", `label` the label that a label task's answer is and
    `mentioned` those that occur in it."""

    correct: bool
    exact: bool
    contained: bool
    words: int
    reference_words: int
    verbose: str = ""
    loop: str = ""
    label: str | None = None
    mentioned: tuple[str, ...] = ()

    @property
    def right_inside(self) -> bool:
        """The right answer is in the text, but something else is wrong with it."""
        return self.contained and not self.correct


def judge(prediction: Prediction, example: Example, context: EvalContext, limits: Limits) -> Judgement:
    return _judge(prediction.parsed, example.references, context.labels, limits)


def _judged(text: str, references: tuple[str, ...], labels: tuple[str, ...], limits: Limits) -> Judgement:
    words = normalise(text).split()
    longest = max(len(normalise(reference).split()) for reference in references)
    verbose = ""
    if len(words) > limits.verbose_ratio * longest and len(words) >= longest + limits.verbose_words:
        verbose = f"{len(words)} words, references have {longest} at most"
    loop = find_loop(words, text, limits)
    if loop and any(find_loop(normalise(reference).split(), reference, limits) for reference in references):
        loop = ""  # what was asked for repeats itself as well
    if labels:
        gold = {match_label(reference, labels) or reference for reference in references}
        label = match_label(text, labels)
        mentioned = () if label is not None else tuple(mentioned_labels(text, labels))
        exact = label in gold if label is not None else text.strip() in gold
        contained = exact or (len(mentioned) == 1 and mentioned[0] in gold)
        return Judgement(exact, exact, contained, len(words), longest, verbose, loop, label, mentioned)
    exact = any(normalise(text) == normalise(reference) for reference in references)
    contained = exact or any(contains(text, reference) for reference in references)
    correct = exact or (contained and not verbose and not loop)
    return Judgement(correct, exact, contained, len(words), longest, verbose, loop)


_judged_cached = lru_cache(256)(_judged)  # the classifiers of one item follow each other


def _judge(text: str, references: tuple[str, ...], labels: tuple[str, ...], limits: Limits) -> Judgement:
    if len(text) > CACHED_CHARACTERS:
        return _judged(text, references, labels, limits)
    return _judged_cached(text, references, labels, limits)


def best_overlap(text: str, references: tuple[str, ...]) -> float:
    return best_over_references(overlap_f1, text, references)


# ----------------------------------------------------------------------------------------------------- loops

TWICE_WORDS = 5  # a unit of so many words is a loop when it is said twice in a row
_MARKER = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|[A-Za-z][.)]|[-*•])[ \t]+", re.MULTILINE)
_CHARACTER_LOOP = re.compile(r"(\w[^\s]{0,7}?)\1{14,}")


def find_loop(words: list[str], text: str, limits: Limits) -> str:
    """Evidence of a loop, or "": a unit of up to MAX_PERIOD words said `loop_repeats` times in a row (a single word
    once more, one of TWICE_WORDS or more twice) and filling `loop_words` words, or one of up to eight characters said
    15 times; or, in texts of 24 words or more, half of all 4-grams being repetitions (the measure "rep-4" of Welleck et
    al., 2020). Numbers and letters of list items are passed over."""
    if _MARKER.search(text):
        words = normalise(_MARKER.sub("", text)).split()
    counts = Counter(words)
    seen = len(counts)
    if len(words) - seen >= limits.loop_repeats:
        for period in range(1, min(MAX_PERIOD, len(words) // 2) + 1):
            repeats = 2 if period >= TWICE_WORDS else limits.loop_repeats + (period == 1)
            needed = max(repeats, -(-limits.loop_words // period) if period > 1 else 0)
            end = _repeats_until(words, period, (needed - 1) * period)
            if end:
                unit = " ".join(words[end - period : end])
                return f"{needed} times or more: {unit[:60]!r}"
        if len(words) >= 24 and seen * 2 <= len(words):
            grams = list(zip(words, words[1:], words[2:], words[3:], strict=False))
            share = 1 - len(set(grams)) / len(grams)
            if share >= 0.5:
                return f"{share:.0%} of all 4-word runs are repetitions"
    if any(len(word) >= 15 for word in words) and (match := _CHARACTER_LOOP.search(text)):
        return f"{len(match.group(0)) // len(match.group(1))} times: {match.group(1)!r}"
    return ""


def _repeats_until(words: list[str], period: int, needed: int) -> int:
    """The position after `needed` words in a row that equal the one `period` earlier; 0 when there is none."""
    run = 0
    for position in range(period, len(words)):
        run = run + 1 if words[position] == words[position - period] else 0
        if run >= needed:
            return position + 1
    return 0
