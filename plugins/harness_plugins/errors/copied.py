"""Answers that say what stands in the prompt. Case, accents, punctuation and articles make no difference."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from harness_plugins.errors.demands import CHAT_MARK
from harness_plugins.errors.judge import unaccented
from harness_plugins.metrics.text import normalise

RUN = 3
MOST_COPIED = 4000
_PIECES = re.compile(r"(?<=[.!?…:;。！？؟])[\"'”’»)\]]*\s+|\s*\n\s*|(?<=[\s(])[\"'“‘«](?=\w)|(?<=\w)[.!?,]?[\"'”’»](?=[\s.,)]|\Z)")
_OPTION = re.compile(r"^\s*[-*•]?\s*\(?[A-Za-z0-9]{1,2}[.):]\s+(.+?)\s*$", re.MULTILINE)
_MARK = re.compile(r"^\s*\(?[A-Za-z0-9]{1,2}[.):]\s+")


@dataclass(frozen=True)
class Shown:
    """A prompt as copies are looked for in it: `words` in order, `runs` of RUN of them, `pieces` (sentences, lines and
    quotations, set apart by "|"), and the `options` of multiple choice."""

    words: str
    runs: frozenset[str]
    pieces: str
    options: frozenset[str]


@lru_cache(64)  # the arms of a run share few prompts
def shown(prompt: str) -> Shown:
    bare = CHAT_MARK.sub("\n", prompt)
    words = _form(bare).split()
    runs = frozenset(" ".join(words[start : start + RUN]) for start in range(len(words) - RUN + 1))
    return Shown(f" {' '.join(words)} ", runs, _pieces(bare), frozenset(map(_form, _OPTION.findall(bare))))


def _form(text: str) -> str:
    return normalise(unaccented(text))


def _pieces(text: str) -> str:
    forms = [_form(piece) for piece in _PIECES.split(text) if piece.strip()]
    return f"|{'|'.join(form for form in forms if form)}|"


def copied(text: str, prompt: str, *, whole: int, words: int, share: float, cut: bool) -> str:
    """Evidence that an answer is a copy, or "". Either it is, from `whole` words on, one or more whole sentences, lines
    or quotations of the prompt (but not an option of multiple choice: choosing one is an answer); or `words` and more of
    its words, and `share` of all, stand there in runs of RUN and more. An answer that restates the question and then
    says something of its own is none: its last word must be copied, too, or the answer cut off."""
    text = text[:MOST_COPIED]
    form = _form(text)
    said = form.split()
    if len(said) < whole or not prompt:
        return ""
    there = shown(prompt)
    if there.options and {form, _form(_MARK.sub("", text))} & there.options:
        return ""
    pieces = _pieces(text)
    if (pieces[:-1] if cut else pieces) in there.pieces:
        return f"{len(said)} words, all in the prompt"
    if len(said) < words:
        return ""
    marked = [False] * len(said)
    for start in range(len(said) - RUN + 1):
        if " ".join(said[start : start + RUN]) in there.runs:
            marked[start : start + RUN] = [True] * RUN
    if sum(marked) < max(words, share * len(said)) or not (marked[-1] or cut):
        return ""
    return f"{sum(marked)} of {len(said)} words in runs of {RUN} or more"
