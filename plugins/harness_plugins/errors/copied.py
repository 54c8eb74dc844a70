"""Answers that say what stands in the prompt. Case, accents, punctuation and a letter make no difference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from rapidfuzz.distance import OSA

from harness_plugins.errors.demands import CHAT_MARK
from harness_plugins.errors.function_words import FUNCTION_WORDS
from harness_plugins.errors.judge import SMALL_WORDS, given_back, is_echo, word_form

RUN = 3  # words in a row that stand in the prompt are a copy; in everyday phrases fewer do
MOST_COPIED = 4000  # characters
LONG = 7  # letters
KEPT = 0.75  # of a short text's words: fewer are a shorter text
LEAST_NEW = 4  # letters of a word that makes a claim
MOST_NEAR = 20  # words of an answer that are looked for with a letter changed
SHORT_INPUT = 30  # words; of a longer input only the last sentence is what was asked, the rest a passage
SHORT, SHORT_SHARE = 12, 0.75  # in so few words a claim of one's own ("El Salvador is the seat of ...") has more weight
RESTATED, IN_ORDER = 0.9, 0.6  # of the words that carry meaning: those of the question, and those in its order
_YES_NO = frozenset(
    ("is", "are", "was", "were", "do", "does", "did", "can", "could", "has", "have", "had", "will", "would", "should")
)
_VERBS = frozenset(("is", "are", "was", "were", "be", "has", "had"))
_ENDINGS = re.compile(r"(?:s|es|d|ed|ing|ly|n|en)$")
_LEAD = re.compile(
    r"\bhere(?:s| is| are| it is)\b|\b(?:the )?(?:(?:correct|right|final|best|perfect|full|original|rewritten|corrected"
    r"|revised) )?(?:answer|question|sentence|text|response|output|intent|label|topic|message|word|form|version"
    r"|grammar)"
    r"(?: (?:to|of) (?:the |your |this |that )?(?:question|sentence|text|message|review))?"
    r"(?: (?:is|was|should (?:read|be|say)|reads))?\b"
)
_BEGUN = re.compile(r"\b(?:is|are|was|were|called) (?:an?|the) \W*\w+\W*\Z")  # an answer, at the cut
_QUOTES = re.compile(r"['\"‘’“”]")
_INTRODUCED = re.compile(r"^(?:the )?(?:\w+ ){1,3}(?:is|are) (?:an? )?")
_SENTENCE = re.compile(r"(?<=[.!?…。！？؟])\s+|\s*\n\s*")
_OPTION = re.compile(r"^\s*[-*•]?\s*\(?[A-Za-z0-9]{1,2}[.)]\s+(.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class CopyLimits:
    """Thresholds; see the settings of `Surface` for what they mean."""

    whole: int = 4
    words: int = 8
    share: float = 0.7


@dataclass(frozen=True)
class Item:
    """What an answer is compared with. `asked`: the item's input; `cut`: the token limit ended the answer."""

    prompt: str
    asked: str
    references: Sequence[str] = ()
    labels: Sequence[str] = ()
    cut: bool = False


@dataclass(frozen=True)
class _Prompt:
    """The stems of a prompt's words, each with its words, and the runs of RUN stems in it."""

    words: Mapping[str, Sequence[str]]
    runs: frozenset[tuple[str, ...]]


def _stem(word: str) -> str:
    return _ENDINGS.sub("", word) if len(word) >= 5 else word


_TURNED = SMALL_WORDS | {_stem(word) for word in ("indeed", "also", "actually", "no", "not")}
_NEGATIONS = frozenset(("not", "no", "never", "nicht", "kein", "keine", "pas", "non", "não", "niet", "geen"))
_SMALL = _TURNED.union(*FUNCTION_WORDS.values())


@lru_cache(64)  # the arms of a run share few prompts
def _prompt(prompt: str) -> _Prompt:
    words = word_form(CHAT_MARK.sub(" ", prompt)).split()
    stems = [_stem(word) for word in words]
    forms: dict[str, list[str]] = {}
    for stem, word in dict.fromkeys(zip(stems, words, strict=True)):
        forms.setdefault(stem, []).append(word)
    return _Prompt(forms, _runs(stems))


def _runs(stems: Sequence[str]) -> frozenset[tuple[str, ...]]:
    return frozenset(zip(*(stems[start:] for start in range(RUN)), strict=False))


@lru_cache(64)
def _lines(prompt: str) -> tuple[str, ...]:
    """Whole lines and turns of the prompt, such as the answers of worked examples."""
    lines = CHAT_MARK.sub("\n", prompt).split("\n")
    return tuple(word_form(piece) for line in lines for piece in (line, line.partition(": ")[2]) if piece)


@lru_cache(64)
def _examples(prompt: str) -> frozenset[str]:
    """The lines by which worked examples answer: turns of the assistant, or what follows a name ("A: ")."""
    turns = [turn for turn in CHAT_MARK.split(prompt) if turn.startswith("assistant\n")]
    said = "\n".join(turns) if turns else "\n".join(line.partition(": ")[2] for line in prompt.split("\n"))
    return frozenset(map(word_form, said.split("\n")))


def _is_short(form: str) -> bool:
    return form.count(" ") < SHORT_INPUT


@lru_cache(256)
def _asked(asked: str) -> tuple[str, ...]:
    """The stems of the question, or of the short text, that the item is about."""
    form = word_form(asked)
    if not _is_short(form):
        form = word_form(next((piece for piece in reversed(_SENTENCE.split(asked)) if piece.strip()), ""))
    return tuple(map(_stem, form.split()))


def _shared(said: Sequence[str], prompt: _Prompt) -> list[str]:
    """The stems of those words of an answer that stand in the prompt in runs of RUN and more, endings apart, and a
    letter where that is nearly all that differs; "" for the others."""
    stems = [_stem(word) for word in said]
    shared = _in_runs(stems, prompt.runs)
    strange = [place for place, stem in enumerate(stems) if stem not in prompt.words and len(said[place]) >= 4]
    if strange and len(strange) <= MOST_NEAR and (len(said) <= SHORT or 3 * sum(map(bool, shared)) >= len(said)):
        for place in strange:
            stems[place] = _nearest(said[place], prompt) or stems[place]
        shared = _in_runs(stems, prompt.runs)
    return shared


def _in_runs(stems: Sequence[str], runs: Set[tuple[str, ...]]) -> list[str]:
    """The stems that stand in one of the runs; "" for the others."""
    shared = [""] * len(stems)
    for start in range(len(stems) - RUN + 1):
        if tuple(stems[start : start + RUN]) in runs:
            shared[start : start + RUN] = stems[start : start + RUN]
    return shared


def _nearest(word: str, prompt: _Prompt) -> str:
    """The stem of a word of the prompt that is one edit away, from LONG letters on two; "" without one."""
    limit = 1 + (len(word) >= LONG)
    for stem, words in prompt.words.items():
        for other in words:
            if abs(len(other) - len(word)) <= limit and OSA.distance(word, other, score_cutoff=limit) <= limit:
                return stem
    return ""


def _answers_yes_or_no(said: Sequence[str], asked: Sequence[str]) -> bool:
    """Whether an answer begins with yes or no, or turns a yes-or-no question into a statement."""
    if not asked:
        return False
    turned = asked[0] in _YES_NO and _stem(said[0]) != asked[0] and {_stem(word) for word in said} <= {*asked, *_TURNED}
    return turned or (said[0] in ("yes", "no") and said[0] not in asked)


def _restates(said: Sequence[str], copies: int, asked: str, cut: bool, shown: _Prompt) -> bool:
    """Whether an answer says the question again, with words moved or left out ("The depot is located"; "The former name
    of Mali is Mali"), and no more."""
    known = _asked(asked)
    content = [word for word in said if word not in _TURNED]
    if len(content) < 2 or len(said) < 2 * RUN - 2 or not _is_short(word_form(asked)):
        return False
    stems = [_stem(word) for word in content]
    last = content[-1]
    if not cut and _changed(last, shown):
        return False
    stems = [
        stem if stem in known else _nearest(word, shown) or stem for word, stem in zip(content, stems, strict=True)
    ]
    if not (cut or stems[-1] in known):
        return False
    place, in_order = 0, 0
    for stem in stems:
        if stem in known[place:]:
            place, in_order = known.index(stem, place) + 1, in_order + 1
    only = sum(stem in known for stem in stems)
    if 2 * copies < len(said):
        return not cut and in_order == len(content) >= RUN and all(verb in shown.words for verb in _VERBS & set(said))
    return (
        only >= RESTATED * len(content)
        and in_order >= IN_ORDER * len(content)
        and ("not" not in said or "not" in known)
    )


def _changed(word: str, prompt: _Prompt) -> bool:
    """Whether a word is an own one, or an own form of one of the prompt's ("drawn" for "draw"), and not one of them
    with or without an s, or spelt another way ("centimeters")."""
    forms = prompt.words.get(_stem(word)) or prompt.words.get(_nearest(word, prompt), ())
    plain = word.removesuffix("s")
    return not any(
        plain == form.removesuffix("s") or (len(word) > LONG and sorted(word) == sorted(form)) for form in forms
    )


def _is_option(said: Sequence[str], item: Item) -> bool:
    """Whether an answer has an option of the prompt in it, or is made of labels."""
    named = {_stem(word) for label in item.labels for word in word_form(label).split()}
    if 2 * sum(_stem(word) in named for word in said) >= len(said):
        return True
    form = f" {' '.join(said)} "
    return any(
        f" {word_form(option)} " in form
        for option in _OPTION.findall(CHAT_MARK.sub("\n", item.prompt))
        if word_form(option)
    )


def _of_its_own(said: Sequence[str], prompt: _Prompt, references: Sequence[str]) -> bool:
    """Whether the answer has done some of what was asked: it has a word of a reference that the prompt lacks."""
    told = (reference for reference in references if not reference.startswith("("))
    wanted = {word for reference in told for word in word_form(reference).split()} - SMALL_WORDS
    return any(word in wanted and word not in prompt.words.get(_stem(word), ()) for word in said)


def _is_question(asked: str) -> bool:
    return any(mark in asked for mark in "?？؟")


def _is_shortened(copies: int, asked: str) -> bool:
    """Whether so many words leave out some of a short text, which is something done to it."""
    text = _SENTENCE.split(asked.strip())[-1]
    size = len(word_form(text).split())
    return not _is_question(asked) and size <= SHORT_INPUT and copies < KEPT * size


def _claims(text: str, kept: Sequence[tuple[str, str]], asked: str, prompt: _Prompt) -> bool:
    """Whether a statement in answer to a question has a word that is none of the prompt's, a letter apart."""
    if not _is_question(asked) or _is_question(text):
        return False
    if any(word in _NEGATIONS and not stem for word, stem in kept):
        return True
    new = (word for word, stem in kept if not stem and len(word) >= LEAST_NEW and word not in _SMALL)
    return any(_stem(word) not in prompt.words and not _nearest(word, prompt) for word in new)


def _elsewhere(shared: Sequence[str], again: Sequence[str], asked: Sequence[str]) -> int:
    """How many words the copied pieces have that are not of the question; `again`: those that are, in runs."""
    known = {*asked, *SMALL_WORDS}
    strange = ["" if of_question else stem for stem, of_question in zip(shared, again, strict=True)]
    pieces = {tuple(piece) for is_strange, piece in groupby(strange, bool) if is_strange}
    return sum(len(piece) for piece in pieces if not known.issuperset(piece)) or MOST_COPIED


def _places(form: str, start: int, end: int) -> range:
    """Which words of a text stand between two characters."""
    first = form.count(" ", 0, start)
    return range(first, first + 1 + form.count(" ", start, end))


def copied(text: str, item: Item, limits: CopyLimits) -> str:
    """Evidence that an answer is a copy, or "". It is one when `share` of its words ("the answer is" apart) stand in
    the prompt in runs of RUN words and more, a letter or an ending apart, and these are `words` words or more, or else
    `whole` and more words of what was asked, or whole lines; when it says the question again and no more; or when it is
    the whole input. An answer that restates the question and then says something of its own is none: its last word must
    be copied, too, or the answer cut off. Nor is a yes or no, an option of multiple choice or a label, which is an
    answer, or one with a word of a reference that the prompt lacks: it has begun what was asked."""
    text, asked, cut = text[:MOST_COPIED], item.asked, item.cut
    if not item.prompt or not text:
        return ""
    form = word_form(text)
    if given := given_back(text, asked) or given_back(_INTRODUCED.sub("", form), _QUOTES.sub(" ", asked)):
        return given
    shown, words = _prompt(item.prompt), form.split()
    shared = _shared(words, shown)
    lead = {place for match in _LEAD.finditer(form) for place in _places(form, match.start(), match.end())}
    kept = [
        (word, stem) for place, (word, stem) in enumerate(zip(words, shared, strict=True)) if stem or place not in lead
    ]
    said, count = [word for word, _ in kept], sum(bool(stem) for _, stem in kept)
    if len(said) < limits.whole:
        return ""
    if _answers_yes_or_no(said, _asked(asked)):
        example = words[0] in ("yes", "no") and " ".join(words[1:]) in _examples(item.prompt)
        return f"the answer of an example, {len(words) - 1} words" if example else ""
    restated = _restates(said, count, asked, cut, shown)
    share = limits.share if len(said) > SHORT else max(limits.share, SHORT_SHARE)
    ends = any(stem for _, stem in kept[-3 if cut else -1 :])
    if not restated and (count < limits.whole or count < share * len(said) or not ends):
        return ""
    if cut and not kept[-1][1] and _BEGUN.search(text):
        return ""
    whole = _is_whole(words, text, item, limits.words)
    again = _in_runs(shared, _runs(_asked(asked)))
    of_text = any(again) and not _is_question(asked) and _is_short(word_form(asked))
    if not (restated or whole or of_text) and _elsewhere(shared, again, _asked(asked)) < limits.words:
        return ""  # a short piece of a passage, after the question perhaps, is a wrong answer
    if not (whole or cut) and ((not restated and _is_shortened(count, asked)) or _claims(text, kept, asked, shown)):
        return ""
    if _of_its_own(said, shown, item.references) or _is_option(said, item):
        return ""
    if restated:
        return f"{len(said)} words, and nothing that was not asked"
    return f"{count} of {len(said)} words in runs of {RUN} or more"


def _is_whole(words: Sequence[str], text: str, item: Item, least: int) -> bool:
    """Whether a text is a line of the prompt, or the beginning of one. A short line of a passage, where something is
    asked about it, is an answer; one that answers a worked example is none."""
    form = " ".join(words)
    if item.labels and is_echo(text, item.prompt):
        return True
    lines = _lines(item.prompt)
    if form in lines:
        return not _is_question(item.asked) or len(words) >= least or form in _examples(item.prompt)
    return item.cut and any(line.startswith(form) for line in lines if _is_short(line))
