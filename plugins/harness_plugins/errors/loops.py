"""Loops: answers that say the same again and again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness_plugins.metrics.text import normalise

MAX_PERIOD = 20
TWICE_WORDS = 5  # a unit of so many words is a loop when it is said twice in a row
PAIRS_FROM = 8  # texts of fewer words are not measured by word pairs
PAIRS_OF = 200  # ... and of longer ones the last so many words: pairs recur in any long text, and loops do not end
ENDING = 8  # an ending of so many words that was said before is the beginning of a loop
_MARKER = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|[A-Za-z][.)]|[-*•])[ \t]+", re.MULTILINE)
_CHARACTER_LOOP = re.compile(r"(\w[^\s]{0,7}?)\1{14,}")
_INSIDE = re.compile(r"(?<=\w)[^\w\s'’](?=\w)")
_TOKEN = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class LoopLimits:
    """Thresholds; see the settings of `Surface` for what they mean."""

    repeats: int = 3
    words: int = 6
    pairs: float = 0.42


def find_loop(words: Sequence[str], text: str, limits: LoopLimits) -> str:
    """Evidence of a loop, or "". `words`: the text's normal form. A loop is

    - a unit of up to MAX_PERIOD words said `repeats` times in a row (a single word once more, one of TWICE_WORDS or
      more twice) and filling `words` words; words joined by punctuation ("1.1.1.1", "AS-5/AS-5/AS-5") are taken apart;
    - one of up to eight characters said 15 times;
    - in texts of 24 words or more: half of all 4-word runs being repetitions ("rep-4" of Welleck et al., 2020);
    - in texts of PAIRS_FROM words or more: a share of `pairs` of all word pairs being repetitions (rep-2), of the last
      PAIRS_OF words: lists that name the same again, and phrases that come again with a word changed;
    - an ending of ENDING words or more that stands in the text before.

    Numbers and letters of list items are passed over."""
    if _MARKER.search(text):
        text = _MARKER.sub("", text)
        words = normalise(text).split()
    if found := _periodic(words, limits):
        return found
    if _INSIDE.search(text) and (found := _periodic(_TOKEN.findall(text.lower()), limits)):
        return found
    if any(len(word) >= 15 for word in words) and (match := _CHARACTER_LOOP.search(text)):
        return f"{len(match.group(0)) // len(match.group(1))} times: {match.group(1)!r}"
    if len(words) >= len(text) // 2:  # a script without spaces: its characters form the same pairs again all the time
        return ""
    return _spread(_TOKEN.findall(text.lower()), limits)


def _periodic(words: Sequence[str], limits: LoopLimits) -> str:
    seen = len(set(words))
    if len(words) - seen < limits.repeats:
        return ""
    for period in range(1, min(MAX_PERIOD, len(words) // 2) + 1):
        repeats = 2 if period >= TWICE_WORDS else limits.repeats + (period == 1)
        needed = max(repeats, -(-limits.words // period) if period > 1 else 0)
        end = _repeats_until(words, period, (needed - 1) * period)
        if end:
            unit = " ".join(words[end - period : end])
            return f"{needed} times or more: {unit[:60]!r}"
    if len(words) >= 24 and seen * 2 <= len(words):
        share = _repeated(words, 4)
        if share >= 0.5:
            return f"{share:.0%} of all 4-word runs are repetitions"
    return ""


def _spread(tokens: Sequence[str], limits: LoopLimits) -> str:
    if len(tokens) < PAIRS_FROM:
        return ""
    share = _repeated(tokens[-PAIRS_OF:], 2)
    if share >= limits.pairs:
        return f"{share:.0%} of all word pairs are repetitions"
    if len(tokens) >= 2 * ENDING:
        ending = " ".join(tokens[-ENDING:])
        if f" {ending} " in f" {' '.join(tokens[:-1])} ":
            return f"its end stands in it before: {ending[:60]!r}"
    return ""


def _repeated(words: Sequence[str], run: int) -> float:
    """The share of all runs of so many words that were there before."""
    runs = Counter(zip(*(words[start:] for start in range(run)), strict=False))
    return 1 - len(runs) / runs.total() if runs else 0.0


def _repeats_until(words: Sequence[str], period: int, needed: int) -> int:
    """The position after `needed` words in a row that equal the one `period` earlier; 0 when there is none."""
    run = 0
    for position in range(period, len(words)):
        run = run + 1 if words[position] == words[position - period] else 0
        if run >= needed:
            return position + 1
    return 0
