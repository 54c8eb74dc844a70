"""Answers that say what stands in the prompt. Case, accents, punctuation and articles make no difference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from rapidfuzz import fuzz

from harness_plugins.errors.demands import CHAT_MARK
from harness_plugins.errors.judge import unaccented
from harness_plugins.metrics.text import normalise

RUN = 3
MOST_COPIED = 4000
NEARLY = 88  # percent of the characters of a sentence that is copied but for a letter or a word
MOST_PIECES = 400
_PIECES = re.compile(
    r"(?<=[.!?…:;。！？؟])[\"'”’»)\]]*\s+|\s*\n\s*|(?<=[\s(])[\"'“‘«](?=\w)|(?<=\w)[.!?,]?[\"'”’»](?=[\s.,)]|\Z)"
)
_OPTION = re.compile(r"^\s*[-*•]?\s*\(?[A-Za-z0-9]{1,2}[.)]\s+(.+?)\s*$", re.MULTILINE)
_MARK = re.compile(r"^\s*\(?[A-Za-z0-9]{1,2}[.)]\s+")


@lru_cache(64)  # the arms of a run share few prompts
def _shown(prompt: str) -> str:
    """The prompt's words, with single spaces."""
    return f" {_form(CHAT_MARK.sub(' ', prompt))} "


@lru_cache(64)
def _runs(prompt: str) -> frozenset[str]:
    words = _shown(prompt).split()
    return frozenset(map(" ".join, zip(*(words[start:] for start in range(RUN)), strict=False)))


def _form(text: str) -> str:
    return normalise(unaccented(text))


def _pieces(text: str) -> str:
    """Sentences, lines and quotations, set apart by "|"."""
    forms = [_form(piece) for piece in _PIECES.split(text) if piece.strip()]
    return f"|{'|'.join(form for form in forms if form)}|"


@lru_cache(64)
def _sentences(prompt: str) -> str:
    return _pieces(CHAT_MARK.sub("\n", prompt))


def _nearly(text: str, prompt: str, references: Sequence[str], whole: int) -> str:
    """Evidence that most of an answer is a sentence of the prompt of more than `whole` words with little changed; or
    "". Where a sentence was to be mended, what is nearer to a reference than to the prompt is none."""
    said = [piece for piece in _pieces(text).strip("|").split("|") if piece]
    longest = max(said, key=len, default="")
    if len(longest.split()) <= whole or 2 * len(longest) < sum(map(len, said)):
        return ""
    gold = max((fuzz.ratio(longest, _form(reference)) for reference in references), default=0.0)
    for sentence in list(dict.fromkeys(_sentences(prompt).strip("|").split("|")))[:MOST_PIECES]:
        near = fuzz.ratio(longest, sentence, score_cutoff=max(NEARLY, gold))
        # Who restates the question and then says something of his own has not copied.
        if near > gold and longest.split()[-1] in sentence.split():
            return f"{near:.0f} % of {sentence[:60]!r}"
    return ""


def _is_option(text: str, prompt: str) -> bool:
    options = set(map(_form, _OPTION.findall(prompt)))
    return bool(options & {_form(text), _form(_MARK.sub("", text))})


def copied(
    text: str, prompt: str, references: Sequence[str], *, whole: int, words: int, share: float, cut: bool
) -> str:
    """Evidence that an answer is a copy, or "". Either it is, from `whole` words on, one or more whole sentences, lines
    or quotations of the prompt; or `words` and more of its words, and `share` of all, stand there in runs of RUN and
    more; or most of it is a sentence of the prompt with little changed. An answer that restates the question and then
    says something of its own is none: its last word must be copied, too, or the answer cut off. Nor is an option of
    multiple choice: choosing one is an answer."""
    text = text[:MOST_COPIED]
    form = _form(text)
    said = form.split()
    if len(said) < whole or not prompt:
        return ""
    found = ""
    if f" {form}{'' if cut else ' '}" in _shown(prompt):
        pieces = _pieces(text)
        if (pieces[:-1] if cut else pieces) in _sentences(prompt):
            found = f"{len(said)} words, all in the prompt"
    if not found and len(said) >= words:
        runs = _runs(prompt)
        marked = [False] * len(said)
        for start in range(len(said) - RUN + 1):
            if " ".join(said[start : start + RUN]) in runs:
                marked[start : start + RUN] = [True] * RUN
        if sum(marked) >= max(words, share * len(said)) and (marked[-1] or cut):
            found = f"{sum(marked)} of {len(said)} words in runs of {RUN} or more"
    found = found or _nearly(text, prompt, references, whole)
    return "" if found and _is_option(text, prompt) else found
