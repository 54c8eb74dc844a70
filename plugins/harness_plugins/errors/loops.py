"""Loops: answers that say the same again and again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness_plugins.metrics.text import normalise

MAX_PERIOD = 20
TWICE_WORDS = 5  # a unit of so many words is a loop when it is said twice in a row
RUN = 3  # words in a row that were said before
LEAST = 4  # words said before: two mentions of a name are no repetition
PAIRS_FROM = 8  # shorter texts are not measured by word pairs ("rep-2" of Welleck et al., 2020)
DOUBLED = 0.6  # of a text: what of so much is said twice in a row is a loop
LONG_WORD = 4  # letters; shorter words are said three times for emphasis ("no, no, no")
ITEMS, ITEM_WORDS = 6, 4  # of a list in one line: items, and words of one
MOST_LINES = 4000  # characters
LAST = 200  # words looked at: runs recur in any long text, and loops do not end
_MARKER = re.compile(r"^[ \t]*(?:\d{1,3}[.)]|[A-Za-z][.):]|[-*•])[ \t]+", re.MULTILINE)
_INLINE = re.compile(r"(?<=[,;.] )\d{1,3}[.)] (?=[^\W\d])")  # "1. Rome, 2. Oslo, 3. Bonn"
_BARE_MARKER = re.compile(r"^(?:\d{1,3}|[a-z])[.):]$")  # in lower case
_CHARACTER_LOOP = re.compile(r"(\w[^\s]{0,7}?)\1{14,}")
_INSIDE = re.compile(r"(?<=[^\W_])(?:[^\w\s'’]|_)(?=[^\W_])")
_LETTERS = re.compile(r"[^\W\d_]+")
_NUMBERS = re.compile(r"\d+")
_TOKEN = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class LoopLimits:
    """Thresholds; see the settings of `Surface` for what they mean."""

    repeats: int = 3
    words: int = 6
    share: float = 0.28


def find_loop(words: Sequence[str], text: str, limits: LoopLimits, *, cut: bool = False) -> str:
    """Evidence of a loop, or "". `words`: the text's normal form; `cut`: the token limit ended it. A loop is

    - a unit of up to MAX_PERIOD words said `repeats` times in a row (a short word once more, a unit of TWICE_WORDS or
      more twice) and filling `words` words; words joined by punctuation ("1.1.1.1", "AS-5/AS-5/AS-5") are taken apart;
    - one of up to eight characters said 15 times;
    - one of RUN words or more that a text which was cut off says twice at its end;
    - in a text of which `share` could be struck out: items of a list in one line, or lines, that it had before, and, of
      its last LAST words, those in runs of RUN and more that were said before, or word pairs that are repetitions; or
      one that says DOUBLED of it twice in a row.

    Numbers and letters of list items are passed over."""
    if _MARKER.search(text) or len(_INLINE.findall(text)) >= limits.repeats:
        text = _INLINE.sub("\n", _MARKER.sub("", text))
        words = normalise(text).split()
    if found := _periodic(words, limits):
        return found
    if _INSIDE.search(text) and (found := _periodic(_TOKEN.findall(text.lower()), limits)):
        return found
    if any(len(word) >= 15 for word in words) and (match := _CHARACTER_LOOP.search(text)):
        return f"{len(match.group(0)) // len(match.group(1))} times: {match.group(1)!r}"
    if not words and (found := _periodic(text.split(), limits)):
        return found
    if cut and (found := _tail(_TOKEN.findall(text.lower())[-LAST:])):
        return found
    if 2 * len(words) > len(text) + 1:  # a script without spaces: its characters form the same runs again all the time
        return ""
    recent, tokens = text[-MOST_LINES:].lower(), _TOKEN.findall(text.lower())[-LAST:]
    share = limits.share
    return _items_again(recent, share) or _lines_again(recent, share, cut) or _spread(tokens, share)


def _periodic(words: Sequence[str], limits: LoopLimits) -> str:
    seen = len(set(words))
    if len(words) - seen < limits.repeats - 1:
        return ""
    for period in range(1, min(MAX_PERIOD, len(words) // 2) + 1):
        repeats = 2 if period >= TWICE_WORDS else limits.repeats
        needed = max(repeats, -(-limits.words // period) if period > 1 else 0)
        end = _repeats_until(words, period, (needed - 1) * period)
        if end and period == 1 and len(words[end - 1]) < LONG_WORD:
            end = _repeats_until(words, period, needed)
        if end:
            unit = " ".join(words[end - period : end])
            return f"{needed} times or more: {unit[:60]!r}"
    return ""


def _tail(tokens: Sequence[str]) -> str:
    """Evidence that a text was cut off in a loop, or "": its last words say a unit of RUN words or more twice in a row,
    the last of them in part (a unit of two words twice and in part). Shorter units are said in passing."""
    for period in range(RUN, min(MAX_PERIOD, len(tokens) // 2) + 1):
        unit, again = tokens[-2 * period : -period], tokens[-period:]
        if list(unit[:-1]) == list(again[:-1]) and unit[-1].startswith(again[-1]):
            return f"cut off in a loop: {' '.join(again)[:60]!r}"
    if len(tokens) >= 5 and tokens[-5:-3] == tokens[-3:-1] and tokens[-3].startswith(tokens[-1]):
        return f"cut off in a loop: {' '.join(tokens[-3:])[:60]!r}"
    return ""


def _lines_again(text: str, share: float, cut: bool) -> str:
    """Evidence that so much of a text are lines that it had before, numbers apart in lines of words, or "". A last line
    that was cut off may be the beginning of one."""
    lines = [_BARE_MARKER.sub("•", line.strip()) for line in text.split("\n") if line.strip()]
    forms = [" ".join(_LETTERS.findall(line)) or _numbered(line) for line in lines]
    sizes = [len(form.split()) for form in forms]
    again = items = 0
    for place, form in enumerate(forms):
        begun = cut and place == len(forms) - 1 and " " in form
        if form in forms[:place] or (begun and any(other.startswith(form) for other in forms[:place])):
            again, items = again + sizes[place], items + 1
    enough = (items > 1 or again >= (1 if cut else RUN)) and again >= share * sum(sizes)
    return f"lines of {again} of {sum(sizes)} words again" if enough else ""


def _items_again(text: str, share: float) -> str:
    """Evidence that so many items of a list in one line, between commas, are those it had before, or ""."""
    items = [" ".join(_LETTERS.findall(item)) for item in text.rpartition(":")[2].split(",")]
    items = [item for item in items if item]
    if len(items) < ITEMS or any(len(item.split()) > ITEM_WORDS for item in items):
        return ""
    again = len(items) - len(set(items))
    return f"{again} of {len(items)} items again" if again >= max(2, share * len(items)) else ""


def _numbered(line: str) -> str:
    """A line without letters as its lines' shape ("2023: 2023"); a calculation or a single number stays what it is."""
    shape = _NUMBERS.sub("0", line)
    return shape if shape.count("0") > 1 and " " in shape and "=" not in shape else line


def _spread(tokens: Sequence[str], share: float) -> str:
    """Evidence that so much of a text could be struck out, or ""."""
    count = len(tokens)
    again = _said_before(tokens)
    if again >= max(LEAST, share * count):
        return f"{again} of {count} words were said before"
    pairs = list(pairwise(tokens))
    if count >= PAIRS_FROM and len(pairs) - len(set(pairs)) >= share * len(pairs):
        return f"{len(pairs) - len(set(pairs))} of {len(pairs)} word pairs are repetitions"
    for period in range(RUN, min(MAX_PERIOD, count // 2) + 1):
        if 2 * period >= DOUBLED * count and (end := _repeats_until(tokens, period, period)):
            return f"twice in a row: {' '.join(tokens[end - period : end])[:60]!r}"
    return ""


def _said_before(tokens: Sequence[str]) -> int:
    """How many words stand in runs of RUN that ended before they begin again."""
    known: set[tuple[str, ...]] = set()
    again = [False] * len(tokens)
    for start in range(len(tokens) - RUN + 1):
        if tuple(tokens[start : start + RUN]) in known:
            again[start : start + RUN] = [True] * RUN
        if start >= RUN - 1:
            known.add(tuple(tokens[start - RUN + 1 : start + 1]))
    return sum(again)


def _repeats_until(words: Sequence[str], period: int, needed: int) -> int:
    """The position after `needed` words in a row that equal the one `period` earlier; 0 when there is none."""
    run = 0
    for position in range(period, len(words)):
        run = run + 1 if words[position] == words[position - period] else 0
        if run >= needed:
            return position + 1
    return 0
