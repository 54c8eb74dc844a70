"""Error categories that can be read off the answer, its references and its prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice

from pydantic import BaseModel, ConfigDict, Field

from harness.types import ErrorLabel, EvalContext, Example, Prediction
from harness_plugins.errors.judge import Judgement, Limits, best_overlap, judge
from harness_plugins.metrics.numbers import close, numbers
from harness_plugins.metrics.structured import parse_json
from harness_plugins.metrics.text import contains, is_punctuation, normalise

_NATURAL_END = re.compile(r"[.!?…。！？।؟\"'”’»)\]}`*]\s*\Z")
_LIST_NUMBER = re.compile(r"(?:\A|\s)\(?\d{1,3}[.)]\s*\Z")
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|afraid)[,.;]? (?:but|that i|i|we|as|there)\b"
    r"|i(?:'m| am) sorry for (?:any|the|your) (?:confusion|misunderstanding|mistake|inconvenience|error)s?\b"
    r"|i(?:'m| am) not capable of\b"
    r"|i (?:can(?:no|')t|can not|could(?:n't| not)|won't|will not|am (?:unable|not able)|'m (?:unable|not able))"
    r"(?: to)? (?:answer|assist|help|provide|give|tell|say|find|access|determine|fulfill|comply|do that|browse|discuss)"
    r"|i'm (?:unable|not able) to|i am (?:unable|not able) to"
    r"|i (?:do not|don't) (?:know|have (?:access|enough|any|the|information|specific|real))"
    r"|as an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|(?:there is|the (?:passage|context|text)s? (?:does|do)) not (?:contain |provide |have |give )?enough information"
    r"|cannot be (?:answered|determined))",
)
_PARTS = re.compile(r"\s*(?:[,;/\n]|\band\b|\bund\b|\bet\b|&)\s*")
MAX_PART_WORDS = 5
COPIED_RUN = 4
MOST_COPIED = 4000
LONG_WORDS = 20
_CHAT_MARK = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|\[/?INST\]")
CALCULATION = 3  # an answer with more numbers than this is a calculation: what it comes to is its last number
_RESULT = re.compile(
    r"(?:####|\b(?:answer|result|total)\b[^.\n]{0,40}?(?:is|:|=))\s*[$€£]?\s*(?=[-−.\d])", re.IGNORECASE
)
_PARENTHESES = re.compile(r"\([^()]*\)")


class Surface:
    """Compares the answer with references and prompt by rules that a person can check by eye; no model is asked. One
    answer may get several categories; at least one always. Definitions, in the order of `harness.taxonomy.ORDER`:
    *harness_error*, *no_reference*, *overflow*: nothing to judge. *correct*: see `harness.taxonomy`. *empty*: no
    letter, digit or symbol. *repetitive*: a loop of words or characters that no reference has. *copied_prompt*: not
    right, and `copied_share` of its words, the last one included, stand in the prompt in runs of four and more.
    *refusal*: not right, and a phrase of declining in the first 200 characters. *truncated*: ended by the token limit,
    without a sentence's end. *off_label*: a label task's answer that is no label and names none or several.
    *missing_part*: of a reference with several parts, some are there. *numeric*: the reference is one number, and the
    answer's first number, or the last one of a calculation, differs. *partially_correct*: token F1 of `partial_f1` or
    more. *wrong_answer*: the right answer is not in the text, not even in part. *verbose*: more than `verbose_ratio`
    times the longest reference and `verbose_words` words more. *format*: the right answer is in the text, but in a
    sentence where a short answer or a label was wanted, or not as JSON where the reference is."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        verbose_ratio: float = Field(3.0, ge=1, description="Verbose: this many times the longest reference's words,")
        verbose_words: int = Field(10, ge=0, description="... and this many words more than it has.")
        loop_repeats: int = Field(3, ge=2, description="Repetitive: this often in a row (a single word once more),")
        loop_words: int = Field(6, ge=2, description="... and filling this many words (units of two words or more).")
        copied_words: int = Field(7, ge=4, description="Copied: answers from this many words on, of which")
        copied_share: float = Field(0.7, gt=0, le=1, description="... this share stands in the prompt in runs of four.")
        partial_f1: float = Field(0.5, gt=0, le=1, description="Partially correct: token F1 with the best reference.")
        short_words: int = Field(5, ge=1, description="A reference of up to this many words is a short answer.")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.limits = Limits(config.verbose_ratio, config.verbose_words, config.loop_repeats, config.loop_words)

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
            return [ErrorLabel("empty", f"{len(prediction.parsed)} characters, raw {len(prediction.raw)}")]
        return [*self._breakdown(prediction, judged), *self._content(prediction, example, context, judged)]

    def _breakdown(self, prediction: Prediction, judged: Judgement) -> Iterator[ErrorLabel]:
        if judged.loop:
            yield ErrorLabel("repetitive", judged.loop)
        if not judged.contained:
            if copied := self._copied(prediction):
                yield ErrorLabel("copied_prompt", copied)
            if refused := _REFUSAL.search(prediction.parsed[:200].lower().replace("’", "'")):
                yield ErrorLabel("refusal", refused.group(0))
        if prediction.finish == "length" and not ends_naturally(prediction.parsed):
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
            yield from _wrong_label(prediction.parsed, example, judged)
        else:
            yield from self._wrong(prediction, example.references)
        if judged.verbose:
            yield ErrorLabel("verbose", judged.verbose)

    def _wrong_shape(self, text: str, example: Example, context: EvalContext, judged: Judgement) -> str:
        if context.labels:
            return f"label {judged.mentioned[0]!r} inside {judged.words} words"
        if any(_is_structure(reference) for reference in example.references) and not _is_structure(text):
            return "the reference is JSON, the answer is not"
        if judged.reference_words <= self.config.short_words:
            return f"a short answer inside {judged.words} words"
        return ""

    def _wrong(self, prediction: Prediction, references: tuple[str, ...]) -> Iterator[ErrorLabel]:
        text, partial = prediction.parsed, False
        if parts := _missing_parts(text, references[0]):
            partial = True
            yield ErrorLabel("missing_part", parts)
        if differs := _other_number(text, references, cut=prediction.finish == "length"):
            yield ErrorLabel("numeric", differs)
        overlap = best_overlap(text, references)
        if overlap >= self.config.partial_f1:
            partial = True
            yield ErrorLabel("partially_correct", f"token F1 {overlap:.2f}")
        if not partial:
            yield ErrorLabel("wrong_answer", f"{text.strip()[:60]!r} for {references[0][:60]!r}")

    def _copied(self, prediction: Prediction) -> str:
        """Runs of four words and more that the prompt has as well, when they make up enough of the answer. An answer
        that restates the question and then says something of its own is none: its last word must be copied, too."""
        words = normalise(prediction.parsed[:MOST_COPIED]).split()
        if len(words) < self.config.copied_words or not prediction.prompt:
            return ""
        prompt = f" {_normal_prompt(prediction.prompt)} "
        copied = [False] * len(words)
        for start in range(len(words) - COPIED_RUN + 1):
            if f" {' '.join(words[start : start + COPIED_RUN])} " in prompt:
                copied[start : start + COPIED_RUN] = [True] * COPIED_RUN
        if sum(copied) < self.config.copied_share * len(words) or not (copied[-1] or prediction.finish == "length"):
            return ""
        return f"{sum(copied)} of {len(words)} words in runs of {COPIED_RUN} or more"


@lru_cache(64)  # the arms of a run share few prompts, but all classifiers of one answer share one
def _normal_prompt(prompt: str) -> str:
    return normalise(_CHAT_MARK.sub(" ", prompt))


def _is_empty(text: str) -> bool:
    return all(is_punctuation(character) for character in normalise(text).replace(" ", ""))


def ends_naturally(text: str) -> bool:
    """Whether a text ends like a sentence, a quotation or a closed bracket, and not with a list's next number."""
    return bool(_NATURAL_END.search(text[-50:])) and not _LIST_NUMBER.search(text[-50:])


def _is_structure(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        return isinstance(parse_json(text), dict | list)
    except ValueError:
        return False


def _wrong_label(text: str, example: Example, judged: Judgement) -> Iterator[ErrorLabel]:
    if judged.label is None and len(judged.mentioned) != 1:
        named = ", ".join(judged.mentioned[:5]) or "none"
        yield ErrorLabel("off_label", f"{text.strip()[:60]!r} names {named}")
    else:
        said = judged.label or judged.mentioned[0]
        yield ErrorLabel("wrong_answer", f"{said!r} for {example.references[0]!r}")


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


def _other_number(text: str, references: tuple[str, ...], *, cut: bool = False) -> str:
    """Evidence that the reference is one number with a unit of up to three words, and the answer's number is another:
    its first one, or what a calculation comes to. A long answer that was cut off has not come to its number yet."""
    gold = []
    for reference in references:
        bare = _PARENTHESES.sub(" ", reference)[:200].strip().lstrip("~≈$€£¥+ ")
        found = list(numbers(bare))
        if len(found) == 1 and bare[:1] in "-−.0123456789" and len(bare.split()) <= 4:
            gold.append(found[0])
    said = _said_number(text, cut) if gold else None
    if said is None or any(close(said, number) for number in gold):
        return ""
    return f"{said:g} for {gold[0]:g}"


def _said_number(text: str, cut: bool) -> float | None:
    """The number that an answer gives."""
    if result := _RESULT.search(text):
        return next(numbers(text[result.end() :]), None)
    found = list(islice(numbers(text), 1000))
    if cut and (len(found) > CALCULATION or len(text.split()) > LONG_WORDS):
        return None
    if len(found) > CALCULATION:
        return found[-1]
    return found[0] if found else None
