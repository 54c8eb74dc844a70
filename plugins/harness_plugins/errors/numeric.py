"""Whether one number was asked for, and which one an answer gives."""

from __future__ import annotations

import re
from itertools import islice

from harness_plugins.metrics.numbers import close, numbers

CALCULATION = 3  # an answer with more numbers than this is a calculation: what it comes to is its last number
FEW_WORDS = 20
MOST_NUMBERS = 1000
_RESULT = re.compile(
    r"(?:####|\b(?:answer|result|total)\b[^.\n]{0,40}?(?:is|:|=))\s*[$€£]?\s*(?=[-−.\d])", re.IGNORECASE
)
_EQUALS = re.compile(r"=\s*[$€£]?[-−]?\d[\d,.]*(?=\s)")
_OPERATOR = re.compile(r"\d\s*[*×+÷/^]\s*\d|\d\s+[-−x]\s+\d|\d\s+(?:times|plus|minus|divided by|multiplied by)\b")
_PARENTHESES = re.compile(r"\([^()]*\)")
_LEAD = re.compile(
    r"\A(?:(?:in|on|at|by|since|about|around|over|under|nearly|almost|approximately|approx\.?|circa|ca\.?|only|exactly"
    r"|en|im|am|um|el|le|il|nel)\s+){1,2}(?=[-−.$€£¥\d])",
    re.IGNORECASE,
)
# A sentence that says one number of its subject: "The cube root of 27 is 3.", "Una araña tiene 8 patas."
_PREDICATE = re.compile(
    r"(?:\b(?:is|are|was|were|equals?|has|have|had|ist|sind|war|hat|haben|est|sont|es|son|tiene|è|ha|é|tem)|=)"
    r"\s+(?:(?:about|approximately|around|equal to|only|exactly)\s+)?[$€£¥]?(?=[-−.\d])",
    re.IGNORECASE,
)
MOST_UNIT_WORDS = 4
MOST_SENTENCE_WORDS = 25
_NONE = re.compile(r"\b(?:there (?:is|are|was|were)|ha(?:s|ve|d)) no\b|\A\W*(?:none|zero|no)\b", re.IGNORECASE)
_NAMES = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
)
_WORDS = {word: float(value) for value, word in enumerate(_NAMES.split(), 2)}
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)


def other_number(text: str, references: tuple[str, ...], question: str, *, cut: bool = False) -> str:
    """Evidence that one number was asked for and the answer gives another one, or "". The reference is a number with a
    unit of up to three words, or a short sentence whose predicate is one ("The cube root of 27 is 3."). The answer's
    number is what it says to be its result, or what a calculation comes to, or else its first number that does not
    stand in the question. A long calculation that was cut off has not come to its number yet."""
    asked = frozenset(islice(numbers(question[-2000:]), MOST_NUMBERS))
    gold = [number for reference in references if (number := wanted_number(reference, asked)) is not None]
    said = _said_number(text, asked, cut) if gold else None
    if said is None or any(close(said, number) for number in gold):
        return ""
    return f"{said:g} for {gold[0]:g}"


def wanted_number(reference: str, asked: frozenset[float] = frozenset()) -> float | None:
    """The number that a reference is, with a unit perhaps; None when it is something else."""
    bare = _LEAD.sub("", _PARENTHESES.sub(" ", reference)[:300].strip()).lstrip("~≈$€£¥+ ")
    words = bare.split()
    found = list(numbers(bare))
    if len(found) == 1 and bare[:1] in "-−.0123456789" and len(words) <= MOST_UNIT_WORDS:
        return found[0]
    if not found and len(words) <= MOST_UNIT_WORDS - 1 and words and words[0].lower() in _WORDS:
        return _WORDS[words[0].lower()]
    if len(words) > MOST_SENTENCE_WORDS or not (said := list(_PREDICATE.finditer(bare))):
        return None
    rest = bare[said[-1].end() :]
    if len(rest.split()) > MOST_UNIT_WORDS or [number for number in found if number not in asked] not in (
        [],
        found[-1:],
    ):
        return None
    number = next(numbers(rest), None)
    return None if number in asked else number  # what the question says itself is not what it asks for


def _said_number(text: str, asked: frozenset[float], cut: bool) -> float | None:
    """The number that an answer gives."""
    if result := _RESULT.search(text):
        return next(numbers(text[result.end() :]), None)
    found = list(islice(numbers(text), MOST_NUMBERS))
    own = [number for number in found if number not in asked]
    if not own and _NONE.search(text[:200]):
        return 0.0
    if not found:
        word = _WORD.search(text[:200])
        return _WORDS[word.group(0).lower()] if word else None
    if cut and (equals := list(_EQUALS.finditer(text))):
        return next(numbers(text[equals[-1].start() :]), None)
    if cut and (len(set(own)) > CALCULATION or _OPERATOR.search(text) or (not own and len(text.split()) > FEW_WORDS)):
        return None
    if not cut and len(found) > CALCULATION:
        return found[-1]
    return (own or found)[0]
