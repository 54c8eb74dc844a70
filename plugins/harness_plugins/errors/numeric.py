"""Whether one number was asked for, and which one an answer gives."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice

from harness_plugins.metrics.numbers import close, numbers

CALCULATION = 3  # an answer with more numbers than this is a calculation: what it comes to is its last number
FEW_PIECES = 3  # words and numbers
MOST_CUT = 12  # words and numbers of a text that was cut off and yet claims one of the question's numbers
MANY = 5  # different numbers: a text that counts up has every number in it
ROUGHLY = 0.05  # of a number that a reference gives as about right
MOST_NUMBERS = 1000
_ABOUT = re.compile(
    r"\b(?:about|around|approximately|approx|circa|ca|roughly|nearly|almost)\s+[$€£]?[\d.]|[~≈]", re.IGNORECASE
)
_RESULT = re.compile(
    r"(?:####|\b(?:answer|result|total)\b[^.\n]{0,40}?(?:is|:|=))\s*[$€£]?\s*(?=[-−.\d])", re.IGNORECASE
)
_EQUALS = re.compile(r"=\s*[$€£]?[-−]?\d[\d,.]*(?=\s|\Z)")
_OPERATOR = re.compile(r"\d\s*[*×+÷/^]\s*\d|\d\s+[-−x]\s+\d|\d\s+(?:times|plus|minus|divided by|multiplied by)\b")
_CAME_TO = re.compile(
    r"(?:=|\bwhich (?:is|equals|makes)|\b(?:gives?|leaves)(?: you| us)?|\bso,? [a-z' ]{0,40}?)"
    r"\s*([$€£]?[-−]?\d[\d,.]*)(?=\s)",
    re.IGNORECASE,
)
_NEEDS = re.compile(r"\bneed to\b")
_SIGNED = re.compile(r"[-−]?[$€£]?\d[\d.,]*")
_PIECE = re.compile(r"[^\W\d_]+|\d+")
_PARENTHESES = re.compile(r"\([^()]*\)")
# A sentence that says one number of its subject: "The cube root of 27 is 3.", "Una araña tiene 8 patas."
_PREDICATE = re.compile(
    r"(?:\b(?:is|are|was|were|equals?|has|have|had|costs?|takes?|weighs?|makes?|needs?|gets?|earns?"
    r"|ist|sind|war|hat|haben|est|sont|es|son|tiene|è|ha|é|tem)|=)"
    r"\s+(?:(?:about|approximately|around|equal to|equivalent to|only|exactly|just|typically|usually|generally|normally"
    r"|currently|roughly|nearly|almost|over)\s+){0,2}[$€£¥]?(?=[-−.\d])",
    re.IGNORECASE,
)
MOST_UNIT_WORDS = 4
MOST_SENTENCE_WORDS = 25
_NONE = re.compile(r"\b(?:there (?:is|are|was|were)|ha(?:s|ve|d)) no\b|\A\W*(?:none|zero|no(?![:,.]))\b", re.IGNORECASE)
_NAMES = (
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen"
)
# The same in the other languages that `function_words` knows; "one" is an article in all of them.
_ELSEWHERE = (
    "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
    "deux trois quatre cinq six sept huit neuf dix onze douze",
    "dos tres cuatro cinco seis siete ocho nueve diez once doce",
    "due tre quattro cinque sei sette otto nove dieci undici dodici",
    "dois três quatro cinco seis sete oito nove dez onze doze",
    "twee drie vier vijf zes zeven acht negen tien elf twaalf",
)
_WORDS = {word: float(value) for names in (*_ELSEWHERE, _NAMES) for value, word in enumerate(names.split(), 2)}
_LEAD = re.compile(
    r"\A(?:(?:in|on|at|by|since|about|around|over|under|nearly|almost|approximately|approx\.?|circa|ca\.?|only|exactly"
    r"|(?:more|less|fewer) than|at (?:least|most)|up to|every|en|im|am|um|el|le|il|nel)\s+){1,2}"
    rf"(?=[-−.$€£¥\d]|(?:{'|'.join(_WORDS)})\b)",
    re.IGNORECASE,
)
_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)
# Numbers that count nothing: of list items, centuries and days.
_COUNTLESS = re.compile(
    r"^[ \t]*\d{1,3}[.)](?=[ \t]+\S)|\^\d+|\b\d+(?:st|nd|rd|th)\b"
    r"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.? \d{1,2}\b(?=, )",
    re.MULTILINE | re.IGNORECASE,
)
_ENDS_IN_NUMBER = re.compile(r"\d(?:\s+\w+){0,2}\W*\Z")
_BEGINS_WITH_NUMBER = re.compile(r"\A\W*\d[\d.,]*\s*(?:\n|\Z)")
_LAST = re.compile(r"\d[\d,.]*\Z")
# A question for one number, whatever sentence answers it, and a date of which the number is only a part.
_NUMBER_ASKED = re.compile(r"\bhow (?:many|much|old)\b|\b(?:what|which) year\b|\Awhen\b", re.IGNORECASE)
_CALCULATES = re.compile(r"[$€£]?[\d.,]+\s*[-−+*×x÷/]\s*[$€£]?[\d.]")
_FORMULA = re.compile(r"[*×÷^]\s*[(a-zA-Z]|[a-zA-Z)]\s*[*×÷^=]")
_DAY = re.compile(
    r"\b\d{1,2}(?:st|nd|rd|th)?(?: of)? (?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b"
    r"|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?,? \d+\b",
    re.IGNORECASE,
)
# A text that reasons and was cut off has not come to its number.
_REASONS = re.compile(
    r"\bwe (?:need|have|can|must|should)\b|\blet(?:'|’)?s\b|\bstep[ -]by[ -]step\b|\bto (?:solve|find) ", re.IGNORECASE
)
_GOES_ON = re.compile(r"[-+−*×/÷x=^]\s*\Z")
_ABOUT_TO = re.compile(r"(?<!this )\b(?:is|are|equals|makes|gives)\s*\Z", re.IGNORECASE)  # say its number


def other_number(text: str, references: Sequence[str], question: str, *, cut: bool = False) -> str:
    """Evidence that one number was asked for and the answer gives another one, or "". The reference is a number with a
    unit of up to three words, or a short sentence whose predicate is one ("The cube root of 27 is 3."). The answer's
    number is what it says to be its result, or what a calculation comes to, or else its first number that does not
    stand in the question. A calculation that was cut off has not come to its number yet."""
    asked = _asked(question)
    gold = [number for reference in references if (number := wanted_number(reference, asked, question)) is not None]
    if cut and (half := _LAST.search(text)) and _begins(half.group(0), gold):
        text = text[: half.start()]
        if all(number in asked for number in numbers(text)):
            return ""
    whole = len(gold) == len(references)
    said = _said_number(_COUNTLESS.sub(" ", text), asked, cut, question) if gold and whole else None
    if said is None or any(close(said, number) for number in gold):
        return ""
    if any(map(_ABOUT.search, references)) and any(abs(said - number) <= ROUGHLY * abs(number) for number in gold):
        return ""
    return f"{said:g} for {gold[0]:g}"


def _result(text: str) -> float | None:
    """The number that a text begins with, or what its calculation comes to, where it begins with one."""
    line = text.partition("\n")[0]
    if _CALCULATES.match(line) and (equals := _EQUALS.search(line)):
        return next(numbers(equals.group(0)), None)
    return next(numbers(text), None)


def _begins(half: str, gold: Sequence[float]) -> bool:
    """Whether digits at a cut may be the beginning of a right number."""
    digits = half.replace(",", "").rstrip(".")
    return any(f"{number:.12g}".startswith(digits) for number in gold)


def comes_to_other(text: str, references: Sequence[str], question: str) -> bool:
    """Whether an answer that has the right number in it comes to another one: it calls that its result, or the right
    number is one of the question's."""
    asked = _asked(question)
    gold = [number for reference in references if (number := wanted_number(reference, asked, question)) is not None]
    if len(gold) < len(references):
        return False
    if results := list(_RESULT.finditer(text)):
        said = _result(text[results[-1].end() :])
        return said is not None and not any(close(said, number) for number in gold)
    found = list(islice(numbers(text), MOST_NUMBERS))
    sums = [next(numbers(match.group(0))) for match in _EQUALS.finditer(text)]
    if sums and len(set(found)) > 2 and not any(close(number, one) for number in gold for one in (*sums, found[-1])):
        return True
    if len(set(found)) > MANY and not any(close(number, found[place]) for number in gold for place in (0, -1)):
        return True
    repeated = any(close(number, other) for number in gold for other in asked)
    own = any(number not in asked for number in found) or bool(_ENDS_IN_NUMBER.search(text))
    return repeated and (
        (not own and not _claims(text, question, False)) or bool(other_number(text, references, question))
    )


def other_sign(text: str, reference: str) -> bool:
    """Whether a reference is a number below zero and the text has it above, or the other way round."""
    if not _SIGNED.fullmatch(reference.strip()):
        return False
    number, said = next(numbers(reference), None), set(numbers(text))
    return number is not None and -number in said and number not in said


def _asked(question: str) -> frozenset[float]:
    return frozenset(_counted(question[-2000:]))


def wanted_number(reference: str, asked: frozenset[float] = frozenset(), question: str = "") -> float | None:
    """The number that a reference is, with a unit perhaps, or that it says of its subject, or the only one that it adds
    to a question for a number; None when it is something else."""
    bare = _LEAD.sub("", _PARENTHESES.sub(" ", reference)[:300].strip()).lstrip("~≈$€£¥+ ")
    words = bare.split()
    found = list(numbers(bare))
    if _DAY.search(bare) or _FORMULA.search(bare):
        return None
    if len(found) == 1 and bare[:1] in "-−.0123456789" and len(words) <= MOST_UNIT_WORDS:
        return found[0]
    if not found and len(words) <= MOST_UNIT_WORDS - 1 and words and words[0].lower() in _WORDS:
        return _WORDS[words[0].lower()]
    if len(words) > MOST_SENTENCE_WORDS:
        return None
    added = [number for number in found if number not in asked]
    if len(added) == 1 and _NUMBER_ASKED.search(question):
        return added[0]
    if not (said := list(_PREDICATE.finditer(bare))):
        return None
    rest = bare[said[-1].end() :]
    if len(rest.split()) > MOST_UNIT_WORDS or added not in ([], found[-1:]):
        return None
    number = next(numbers(rest), None)
    return None if number in asked else number  # what the question says itself is not what it asks for


def _said_number(text: str, asked: frozenset[float], cut: bool, question: str) -> float | None:
    """The number that an answer gives."""
    if result := _RESULT.search(text):
        return _result(text[result.end() :])
    found = list(islice(numbers(text), MOST_NUMBERS))
    own = [number for number in found if number not in asked]
    if not own and _NONE.search(text[:200]):
        return 0.0
    if not found:
        values = (_WORDS[word.lower()] for word in _WORD.findall(text[:200]))
        return next((value for value in values if value not in asked or len(_PIECE.findall(text)) <= FEW_PIECES), None)
    if _BEGINS_WITH_NUMBER.match(text):
        return found[0]
    if not own and not _claims(text, question, cut):
        return None
    if cut and _GOES_ON.search(text):
        return None
    if cut and _REASONS.search(text):
        return _came_to(text, asked)
    if cut and _ABOUT_TO.search(text):
        return None
    if cut and (equals := list(_EQUALS.finditer(text))):
        last = equals[-1]
        return (
            next(numbers(last.group(0)), None) if len(equals) == 1 and not _OPERATOR.search(text, last.end()) else None
        )
    if cut and (len(set(own)) > CALCULATION or _OPERATOR.search(text)):
        return None
    if not cut and len(found) > CALCULATION:
        return found[-1]
    return (own or found)[0]


def _came_to(text: str, asked: frozenset[float]) -> float | None:
    """The one number that a reasoning which was cut off had come to, and after which it calculated no more."""
    results = [match for match in _CAME_TO.finditer(text) if next(numbers(match.group(1)), None) not in (None, *asked)]
    values = {next(numbers(match.group(1))) for match in results}
    if len(values) != 1:
        return None
    rest = text[results[0].end() :]
    return None if _OPERATOR.search(rest) or _NEEDS.search(rest) else values.pop()


def _claims(text: str, question: str, cut: bool) -> bool:
    """Whether a text that has no number but the question's gives one of them for an answer: nothing but it, it says
    one more often than the question ("... of 3 cm is 3 cm"), or one of its subject ("It costs 12 euros."). What was cut
    off may have been about to say another one."""
    said, told = _counted(text), _counted(question)
    size = len(_PIECE.findall(text))
    if size <= FEW_PIECES:
        return True
    if cut and size > MOST_CUT:
        return False
    if any(count > told[number] for number, count in said.items()):
        return True
    if cut or not (claim := _PREDICATE.search(text)):
        return False
    before = " ".join(text[: claim.start()].split()[-2:])
    if f"{before} {text[claim.start() : claim.end() + 3]}".lower() in question.lower():
        return False
    return len(list(numbers(text[claim.end() :]))) == 1


def _counted(text: str) -> Counter[float]:
    """How often a text says each number."""
    words = (_WORDS[word.lower()] for word in _WORD.findall(text))
    return Counter(islice(chain(numbers(text), words), MOST_NUMBERS))
