"""Whether an answer is right: the facts that all error classifiers share. The rule stands in `harness.taxonomy`."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from harness.types import EvalContext, Example, Prediction
from harness_plugins.errors.demands import CHAT_MARK, Demands, demands
from harness_plugins.errors.loops import LoopLimits, find_loop
from harness_plugins.errors.numeric import comes_to_other, other_sign
from harness_plugins.metrics.structured import parse_json
from harness_plugins.metrics.text import (
    CACHED_CHARACTERS,
    contains,
    match_label,
    mentioned_labels,
    normalise,
    plain,
    unpunctuated,
)

SMALL_WORDS = frozenset(
    ["a", "an", "the", "is", "are", "was", "were", "be", "of", "to", "in", "on", "it", "that", "this", "and"]
)
LEAST_COPY = 3  # words; shorter inputs given back may be the answer
LEAST_STEM = 3  # letters of a word without its ending
MOST_COUNTED = 10_000  # characters in which sentences are counted
_SENTENCE_END = re.compile(r"(?<=\w\w)[.!?][\"'”’)\]*]*\s+(?=[\"'“‘(\[*]*[^\Wa-z_])|[。！？।؟]|\s*\n\s*")
_INFLECTION = re.compile(r"(?:s|isms?|ists?|ity|ic|al|an)$")
_UNIT_HYPHEN = re.compile(r"(?<=\d)-(?=[^\W\d_])")
_ACCENTED = re.compile(r"([A-Za-z])[\u0300-\u036f]+")
_QUOTED = re.compile(r"(?<!\w)['\"‘“](\w[^'\"‘’“”\n]*)['\"’”](?!\w)")
_ARTICLE_LABEL = re.compile(r"\b[AI]\b(?! (?!is\b|and\b|or\b|because\b|was\b)\w)")


@dataclass(frozen=True)
class Limits:
    """Thresholds that decide whether an answer is right; see the settings of `Surface` for what they mean."""

    long_ratio: float = 3.0
    long_words: int = 10
    short_words: int = 5
    verbose_words: int = 17
    sentence_words: int = 28
    loop: LoopLimits = field(default_factory=LoopLimits)


@dataclass(frozen=True)
class Question:
    """What is asked: the item's input, its labels if it has any, and what the prompt demands; `cut`: the token limit
    ended the answer; `echo`: it is the beginning of the prompt's last line."""

    input: str
    labels: tuple[str, ...]
    asked: Demands
    cut: bool
    echo: bool = False


@dataclass(frozen=True)
class Judgement:
    """`exact` as the metrics define it; `contained`, too, but that accents and a hyphen after a number
    ("27-year-old") do not hide a reference; `words` and `reference_words` (of the longest reference) after
    normalisation; `long`, `verbose`, `loop` and `open_form` (a closed form was demanded) as evidence or "", `label` the
    label that a label task's answer is and `mentioned` those that occur in it."""

    correct: bool
    exact: bool
    contained: bool
    words: int
    reference_words: int
    long: str = ""
    verbose: str = ""
    loop: str = ""
    open_form: str = ""
    label: str | None = None
    mentioned: tuple[str, ...] = ()
    echo: bool = False

    @property
    def right_inside(self) -> bool:
        """The right answer is in the text, but something else is wrong with it."""
        return self.contained and not self.correct


def judge(prediction: Prediction, example: Example, context: EvalContext, limits: Limits) -> Judgement:
    echo = bool(context.labels) and is_echo(prediction.parsed, prediction.prompt)
    cut = prediction.finish == "length"
    question = Question(context.input, context.labels, demands(prediction.prompt), cut, echo)
    given = (prediction.parsed, example.references, question, limits)
    return _judged(*given) if len(prediction.parsed) > CACHED_CHARACTERS else _judged_cached(*given)


def _judged(text: str, references: tuple[str, ...], question: Question, limits: Limits) -> Judgement:
    labels, asked = question.labels, question.asked
    words = normalise(text).split()
    longest = max(len(normalise(reference).split()) for reference in references)
    long = verbose = ""
    length, allowed = len(unpunctuated(text).split()), max(len(unpunctuated(one).split()) for one in references)
    if length > limits.long_ratio * allowed and length >= allowed + limits.long_words:
        size = f"{length} words, references have {allowed} at most"
        long = size if longest <= limits.short_words else ""
        more = max(map(sentences, references)) < sentences(text)
        if length >= allowed + (limits.verbose_words if more else limits.sentence_words):
            verbose = f"{size}, and fewer sentences" if more else size
    loop = find_loop(words, text, limits.loop, cut=question.cut)
    if loop and any(find_loop(normalise(reference).split(), reference, limits.loop) for reference in references):
        loop = ""  # what was asked for repeats itself as well
    if labels:
        gold = {match_label(reference, labels) or reference for reference in references}
        label = match_label(text, labels)
        mentioned = () if label is not None else tuple(named_labels(text, labels))
        exact = label in gold if label is not None else text.strip() in gold
        contained = exact or (len(mentioned) == 1 and mentioned[0] in gold and not question.echo)
        return Judgement(
            exact, exact, contained, len(words), longest, long, verbose, loop, "", label, mentioned, question.echo
        )
    exact = any(normalise(text) == normalise(one) and _same_form(text, one) for one in references)
    if not exact and len(words) >= LEAST_COPY and given_back(text, question.input):
        return Judgement(False, False, False, len(words), longest, long, verbose, loop)
    valued, structure = (False, "") if exact else _structured(text, references)
    there = [one for one in references if exact or (contains(text, one) and not other_sign(text, one))]
    contained = bool(there) or valued or _loosely(text, references) or _inflected(words, references, question.input)
    contained = contained and (exact or not comes_to_other(text, references, question.input))
    open_form = ""
    said = max((len(unpunctuated(reference).split()) for reference in there), default=allowed)
    if asked.closed and length > max(said + 1, asked.words):
        open_form = f"the prompt asks for {asked.closed!r}, the answer has {length} words"
    open_form = structure or open_form
    correct = exact or (contained and not (long or verbose or loop or open_form))
    return Judgement(correct, exact, contained, len(words), longest, long, verbose, loop, open_form)


_judged_cached = lru_cache(256)(_judged)  # the classifiers of one item follow each other


def _structured(text: str, references: tuple[str, ...]) -> tuple[bool, str]:
    """Whether all values of a reference that is JSON stand in the text; evidence that it is other JSON, or none."""
    for reference in references:
        if (wanted := structure(reference)) is None:
            continue
        try:
            values = tuple(_leaves(wanted))
            said = structure(text)
            same = said == wanted
            if not same and _swapped(said, wanted):
                continue
        except RecursionError:  # nested too deeply
            continue
        loose = unaccented(text.replace('"', " "))
        if values and all(contains(loose, unaccented(value)) for value in values):
            return True, "" if same else "the values of the JSON that was wanted, in another form"
    return False, ""


def _same_form(text: str, reference: str) -> bool:
    """Whether a text is JSON where the reference is, and a number of the same sign: normalisation drops the punctuation
    that makes the difference."""
    return (structure(reference) is None or structure(text) is not None) and not other_sign(text, reference)


def structure(text: str) -> dict[str, Any] | list[Any] | None:
    """The JSON object or array that a text is; None for anything else."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        found: dict[str, Any] | list[Any] = parse_json(text)
    except ValueError:
        return None
    return found


def _swapped(said: Any, wanted: Any) -> bool:
    """Whether an object with the right keys lacks a value under its own key."""
    if not (isinstance(said, dict) and isinstance(wanted, dict) and said.keys() == wanted.keys()):
        return False
    return any(
        not contains(json.dumps(said[key], ensure_ascii=False).replace('"', " "), leaf)
        for key, value in wanted.items()
        for leaf in _leaves(value)
    )


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _loosely(text: str, references: tuple[str, ...]) -> bool:
    """Whether a reference is there but for accents ("Brasilia") or a unit joined to its number ("27-year-old")."""
    if text.isascii() and all(map(str.isascii, references)) and not _UNIT_HYPHEN.search(text):
        return False
    loose = _UNIT_HYPHEN.sub(" ", unaccented(text))
    return any(normalise(reference) and contains(loose, unaccented(reference)) for reference in references)


def _inflected(words: Sequence[str], references: Sequence[str], asked: str) -> bool:
    """Whether a reference of one word is there with another ending ("Buddhism", "Mondays"), which does not stand in the
    question: where that asks for a plural, the singular is another word."""
    for reference in references:
        stem = _INFLECTION.sub("", normalise(reference))
        if len(stem) < LEAST_STEM or not stem.isalpha():
            continue
        for word in words:
            bare = _INFLECTION.sub("", word)
            if word.startswith(stem) and bare in (stem, normalise(reference)) and not contains(asked, word):
                return True
    return False


def unaccented(text: str) -> str:
    """Latin letters without their accents; other scripts' marks tell letters apart and stay."""
    return text if text.isascii() else _ACCENTED.sub(r"\1", unicodedata.normalize("NFD", text))


def given_back(text: str, asked: str) -> str:
    """Evidence that a text is the whole input, its last line, or what it quotes, in the same words, or ""."""
    form = word_form(text)
    quoted = (word_form(piece) for piece in _QUOTED.findall(asked[:MOST_COUNTED]))
    same = bool(form) and form in (word_form(asked), word_form(asked.rstrip().rpartition("\n")[2]), *quoted)
    return f"the whole input, {len(form.split())} words" if same else ""


def is_echo(text: str, prompt: str) -> bool:
    """Whether a text is the beginning of the last line that asks ("The sentiment in one word (positive or")."""
    lines = [line for line in CHAT_MARK.sub("\n", prompt[-MOST_COUNTED:]).split("\n") if len(line.split()) > 1]
    form = word_form(text)
    return bool(lines) and len(form.split()) > LEAST_COPY and f"{word_form(lines[-1])} ".startswith(f"{form} ")


def word_form(text: str) -> str:
    """Words without case, accents and punctuation."""
    return unpunctuated(unaccented(text)).lower()


def sentences(text: str) -> int:
    """How many sentences and lines a text has, of those that say anything."""
    pieces = _SENTENCE_END.split(text[:MOST_COUNTED].strip())
    return sum(any(map(str.isalnum, piece)) for piece in pieces)


def named_labels(text: str, labels: tuple[str, ...]) -> list[str]:
    """The labels that a text names: as `mentioned_labels` finds them, and in the plural ("Sports" names "sport"). The
    label "A" or "I" is not named by the article or pronoun in "A person ..."."""
    found = [
        label
        for label in mentioned_labels(text, labels)
        if label not in ("A", "I") or _ARTICLE_LABEL.search(plain(text))
    ]
    forms = tuple(f"{label}s" for label in labels if label.isalpha() and len(label) > 2 and f"{label}s" not in labels)
    plurals = mentioned_labels(text, forms) if forms else []
    return list(dict.fromkeys([*found, *(plural[:-1] for plural in plurals)]))


def overlap_beyond(text: str, references: Sequence[str], asked: str) -> float:
    """Token F1 with the best reference of which half is there, in what both say beyond the question: "The capital of
    Peru is Cuzco" has nothing in common with "The capital of Peru is Lima"."""
    known = {*normalise(asked[-MOST_COUNTED:]).split(), *SMALL_WORDS}
    said = Counter(word for word in normalise(text[:MOST_COUNTED]).split() if word not in known)
    best = 0.0
    for reference in references:
        wanted = Counter(word for word in normalise(reference[:MOST_COUNTED]).split() if word not in known)
        common = (said & wanted).total()
        if common and 2 * common >= wanted.total():
            best = max(best, 2 * common / (said.total() + wanted.total()))
    return best
