"""Error categories that can be read off the answer, its references and its prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from harness.types import ErrorLabel, EvalContext, Example, Prediction
from harness_plugins.errors.copied import CopyLimits, Item, copied
from harness_plugins.errors.judge import Judgement, Limits, judge, named_labels, overlap_beyond, structure
from harness_plugins.errors.loops import LoopLimits
from harness_plugins.errors.numeric import other_number
from harness_plugins.errors.refusals import refusal
from harness_plugins.metrics.text import contains, is_punctuation, normalise

_NATURAL_END = re.compile(r"[.!?…。！？।؟][\"'”’»)\]}`*]*\s*\Z|[)\]}`]\s*\Z")
_UNFINISHED = re.compile(r"(?:\A|\s)\(?\d{1,3}[.)]\s*\Z|(?:\A|\n)\s*(?:\(?[A-Za-z][.)]|[-*•])\s*\Z|\s[\"“‘«(\[]\s*\Z")
_CHOICE = re.compile(r"\s[A-Za-z]\)\Z")
_ENDED_LINE = re.compile(r"\d\s*\n\s*\Z|\A\s*(\d+)(?:\s+\1)*\s*\Z")  # a number, and the line's end or no more
_PARTS = re.compile(r"\s*(?:[,;/\n]|\band\b|\bund\b|\bet\b|&)\s*")
MOST_CLAIM = 40  # characters
_ANSWER = re.compile(r"\b(?:answer|choice|option|label) is\b(?! not\b)", re.IGNORECASE)
_PAUSE = re.compile(r"\S+[,;:.!] ")
_FIRST = re.compile(r"(?<=[.!?])\s|\n")
MAX_PART_WORDS = 5


class Surface:
    """Compares the answer with references and prompt by rules that a person can check by eye; no model is asked. One
    answer may get several categories; at least one always. Definitions, in the order of `harness.taxonomy.ORDER`:
    *harness_error*, *no_reference*, *overflow*: nothing to judge. *correct*: see `harness.taxonomy`. *empty*: no
    letter, digit or symbol. *repetitive*: a loop of words or characters that no reference has, or a text of which
    `loop_share` was said before. *copied_prompt*: the right answer is not there, and `copied_share` of the words stand
    in the prompt in runs of three and more, a letter apart, the last one included: `copied_words` of them and more, or
    `copied_whole` and more of the question, or whole lines; or the answer says the question again and no more. The
    whole input given back, or what it quotes, is always one. Options, labels, a yes or no, a statement with a new word
    in answer to a question, and what has begun the task are none. *refusal*: not right, and a phrase of declining in
    the first 200 characters, where neither a reference nor the label says the same. *truncated*: ended by the token
    limit, without a sentence's end. *off_label*: a label task's answer that is no label and names none or several (an
    empty one, too). *missing_part*: of a reference with several parts, some are there. *numeric*: one number was asked
    for, and the answer's first number that is not in the question, or what its calculation comes to, differs; reasoning
    that was cut off has come to a number where it calculates no more after it. *partially_correct*: half of a reference
    is there, and token F1 is `partial_f1` or more, words of the question apart. *wrong_answer*: the right answer is not
    in the text, not even in part. *verbose*: more than `verbose_ratio` times the longest reference, and `verbose_words`
    words more where the answer goes on after as many sentences and lines as the reference has, or else
    `verbose_sentence_words`. *format*: the right answer is in the text, but where the prompt asks for a closed form
    ("one word only") in more than one word more than the reference has (or more than the prompt allows); or in a text
    of more than `verbose_ratio` times and `long_words` words more than a short reference has; or with other words
    around a label, or other labels beside the right one that it calls its answer; or, where the reference is JSON, not
    as JSON, or with its values in other JSON."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        verbose_ratio: float = Field(3.0, ge=1, description="Verbose: this many times the longest reference's words,")
        verbose_words: int = Field(
            17, ge=0, description="... and this many words more, in more sentences or lines than it has,"
        )
        verbose_sentence_words: int = Field(28, ge=0, description="... or this many words more in as many sentences.")
        long_words: int = Field(
            10, ge=0, description="A short answer in a text of so many words more (and `verbose_ratio`) is out of form."
        )
        loop_repeats: int = Field(3, ge=2, description="Repetitive: this often in a row (a single word once more),")
        loop_words: int = Field(6, ge=2, description="... and filling this many words (units of two words or more),")
        loop_share: float = Field(
            0.28, gt=0, le=1, description="... or this share of a text having been said in it before."
        )
        copied_whole: int = Field(4, ge=1, description="Copied: whole sentences of the prompt, of this many words,")
        copied_words: int = Field(8, ge=3, description="... or this many words and more, in runs of three,")
        copied_share: float = Field(0.7, gt=0, le=1, description="... that make up this share of the answer.")
        partial_f1: float = Field(
            0.4,
            gt=0,
            le=1,
            description="Partially correct: token F1 with the best reference, words of the question apart.",
        )
        short_words: int = Field(5, ge=1, description="A reference of up to this many words is a short answer.")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.limits = Limits(
            config.verbose_ratio,
            config.long_words,
            config.short_words,
            config.verbose_words,
            config.verbose_sentence_words,
            LoopLimits(config.loop_repeats, config.loop_words, config.loop_share),
        )
        self.copies = CopyLimits(config.copied_whole, config.copied_words, config.copied_share)

    def classify(self, prediction: Prediction, example: Example, context: EvalContext) -> Sequence[ErrorLabel]:
        if prediction.finish == "error":
            return [ErrorLabel("harness_error", (prediction.error or "unknown")[:200])]
        if not example.references:
            return [ErrorLabel("no_reference", f"item {example.id}")]
        if prediction.finish == "overflow":
            return [ErrorLabel("overflow", f"{prediction.tokens_in} tokens")]
        judged = judge(prediction, example, context, self.limits)
        if judged.exact:
            return [ErrorLabel("correct", "equals the reference")]
        if _is_empty(prediction.parsed):
            found = [ErrorLabel("empty", f"{len(prediction.parsed)} characters, raw {len(prediction.raw)}")]
            return [*found, ErrorLabel("off_label", "names none")] if context.labels else found
        return [
            *self._breakdown(prediction, example, context, judged),
            *self._content(prediction, example, context, judged),
        ]

    def _breakdown(
        self, prediction: Prediction, example: Example, context: EvalContext, judged: Judgement
    ) -> Iterator[ErrorLabel]:
        if judged.loop:
            yield ErrorLabel("repetitive", judged.loop)
        cut = prediction.finish == "length"
        unended = cut and not ends_naturally(prediction.parsed)
        differs = not context.labels and other_number(prediction.parsed, example.references, context.input, cut=cut)
        phrase = "" if judged.correct or judged.label is not None else refusal(prediction.parsed)
        if phrase and not any(map(refusal, example.references)) and phrase not in context.input.lower():
            yield ErrorLabel("refusal", phrase)
        elif judged.echo or not (judged.contained or judged.label is not None or len(judged.mentioned) == 1 or differs):
            asked = context.input or prediction.prompt
            item = Item(prediction.prompt, asked, example.references, context.labels, unended)
            copy = copied(prediction.parsed, item, self.copies)
            if copy:
                yield ErrorLabel("copied_prompt", copy)
        if unended and not _ENDED_LINE.search(prediction.raw):
            yield ErrorLabel("truncated", f"{prediction.tokens_out} tokens, ends in {prediction.parsed[-20:]!r}")

    def _content(
        self, prediction: Prediction, example: Example, context: EvalContext, judged: Judgement
    ) -> Iterator[ErrorLabel]:
        if judged.correct:
            yield ErrorLabel("correct", "contains the reference")
        elif judged.contained:
            if shape := self._wrong_shape(prediction.parsed, example, context, judged):
                yield ErrorLabel("format", shape)
        elif context.labels:
            yield from _wrong_label(prediction.parsed, example, context.labels, judged)
        else:
            yield from self._wrong(prediction, example.references, context.input)
        if judged.verbose:
            yield ErrorLabel("verbose", judged.verbose)

    def _wrong_shape(self, text: str, example: Example, context: EvalContext, judged: Judgement) -> str:
        if context.labels:
            return f"label {judged.mentioned[0]!r} inside {judged.words} words"
        if structure(text) is None and any(structure(reference) is not None for reference in example.references):
            return "the reference is JSON, the answer is not"
        if judged.open_form:
            return judged.open_form
        if judged.long:
            return f"a short answer inside {judged.words} words"
        return ""

    def _wrong(self, prediction: Prediction, references: tuple[str, ...], asked: str) -> Iterator[ErrorLabel]:
        text, partial = prediction.parsed, False
        if parts := _missing_parts(text, references[0]):
            partial = True
            yield ErrorLabel("missing_part", parts)
        differs = other_number(text, references, asked, cut=prediction.finish == "length")
        if differs:
            yield ErrorLabel("numeric", differs)
        overlap = 0.0 if differs else overlap_beyond(text, references, asked)
        if overlap >= self.config.partial_f1:
            partial = True
            yield ErrorLabel("partially_correct", f"token F1 {overlap:.2f}")
        if not partial:
            yield ErrorLabel("wrong_answer", f"{text.strip()[:60]!r} for {references[0][:60]!r}")


def _is_empty(text: str) -> bool:
    return all(is_punctuation(character) for character in normalise(text).replace(" ", ""))


def ends_naturally(text: str) -> bool:
    """Whether a text ends like a sentence, quoted perhaps, or with a closed bracket, and not with a list's next number
    or letter or with a bracket that opens."""
    end = text[-50:]
    opened = end.endswith(")") and "(" not in end and _CHOICE.search(end)  # "The answer is C)"
    return bool(_NATURAL_END.search(end)) and not _UNFINISHED.search(end) and not opened


def _wrong_label(text: str, example: Example, labels: tuple[str, ...], judged: Judgement) -> Iterator[ErrorLabel]:
    if judged.label is None and len(judged.mentioned) != 1:
        named = ", ".join(judged.mentioned[:5]) or "none"
        yield ErrorLabel("off_label", f"{text.strip()[:60]!r} names {named}")
        claimed = _claimed_label(text, labels) if judged.mentioned else ""
        if claimed in example.references:
            yield ErrorLabel("format", f"calls {claimed!r} its answer, and names {named}")
    else:
        said = judged.label or judged.mentioned[0]
        yield ErrorLabel("wrong_answer", f"{said!r} for {example.references[0]!r}")


def _claimed_label(text: str, labels: tuple[str, ...]) -> str:
    """The label that a text which names several calls its answer, or "": the one after the last "the answer is", or
    else the one that it begins with ("No, ..."), or the only one in its first sentence or line."""
    first = next((piece for piece in _FIRST.split(text.strip()) if piece), "")
    words = first.split(" ", 2)
    places = [first]
    if answers := list(_ANSWER.finditer(text)):
        places = [text[answers[-1].end() :][:MOST_CLAIM]]
    elif _PAUSE.match(first) and not named_labels(words[1], labels):
        places = [words[0], first]
    for place in places:
        if len(named := named_labels(place, labels)) == 1:
            return named[0]
    return ""


def _missing_parts(text: str, reference: str) -> str:
    """Evidence that some parts of a list are there and some are not. Parts of one letter or digit say nothing,
    and clauses of a sentence are no list."""
    if len(reference) > 1000:
        return ""
    parts = [part for part in _PARTS.split(reference) if len(normalise(part)) > 1]
    if len(parts) < 2 or any(len(part.split()) > MAX_PART_WORDS for part in parts):
        return ""
    missing = [part for part in parts if not contains(text, part)]
    return (
        f"{len(parts) - len(missing)} of {len(parts)} parts; missing {missing[0][:60]!r}"
        if (0 < len(missing) < len(parts))
        else ""
    )
