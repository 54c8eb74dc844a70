"""What a prompt demands of the answer's form: a closed form ("one word only"), or a language ("Answer in Spanish").

Only English phrases are known. They are looked for in the system turn and in the last turn, which asks; turns between
them are worked examples. A prompt without marks of turns is read as a whole: its first and last `READ` characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

READ = 2000  # characters from each end of a turn
CHAT_MARK = re.compile(r"<\|[^|<>]{1,40}\|>|</?s>|\[/?INST\]|</?(?:start|end)_of_turn>")
_COUNT = {"one": 1, "single": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "a few": 7}
_NUMBER = r"(?:one|a single|single|two|three|four|five|six|[1-6])"
_THING = r"(?:words?|numbers?|letters?|digits?|names?|dates?|years?|labels?|intents?|categor(?:y|ies)|options?|terms?)"
CLOSED_FORM = re.compile(
    rf"(?:\b(?:in|with|using|at most|no more than|not more than|up to|exactly|only|just)(?: the| a)? "
    rf"{_NUMBER}(?: or {_NUMBER})?[ -]words?(?! sentence)\b"  # "in one word", "at most three words"
    rf"|\b(?:one|single)[ -]{_THING} (?:only|answer)"  # "one word only"
    rf"|\b{_THING}(?: \w+){{0,4}} only\b"  # "the number only", "the letter of the right option only"
    rf"|\b(?:just|only)(?: with)? (?:the|a|one)(?: \w+)? {_THING}\b"  # "just the word"
    r"|\bnothing (?:else|more)\b|\bno (?:full |complete |whole )?sentences?\b|\bno explanations?\b"
    r"|\bnot (?:with|in|as|write) a (?:full |complete |whole )?sentence\b"
    r"|\bwithout (?:any |an? |further )?(?:full |complete |whole )?"
    r"(?:explanations?|explaining|sentences?|comments?|other words)\b"
    r"|\bdo(?: not|n['’]t) (?:explain|write (?:a |any |full )?sentences?)\b"
    r"|\bas few words as (?:possible|you can)\b|\bas (?:short|briefly|shortly) as possible\b"
    r"|\b(?:a|with|as) short phrase\b|\b(?:in|with|using) a few words\b)",
    re.IGNORECASE,
)
_KEYS = ("word", "only", "just", "nothing", "sentence", "expla", "short", "briefly", "comment")  # one in each phrase
_NAMED_NUMBER = re.compile(r"\b(?:one|single|two|three|four|five|six|a few|[1-6])\b", re.IGNORECASE)
LANGUAGES = {
    "arabic": "ar",
    "chinese": "zh",
    "czech": "cs",
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "greek": "el",
    "hebrew": "he",
    "hindi": "hi",
    "hungarian": "hu",
    "italian": "it",
    "japanese": "ja",
    "korean": "ko",
    "norwegian": "no",
    "polish": "pl",
    "portuguese": "pt",
    "romanian": "ro",
    "russian": "ru",
    "spanish": "es",
    "swedish": "sv",
    "turkish": "tr",
    "ukrainian": "uk",
    "vietnamese": "vi",
}
_NAMED_LANGUAGE = re.compile(rf"\b({'|'.join(LANGUAGES)})\b", re.IGNORECASE)
_DEMANDED_LANGUAGE = re.compile(
    r"\b(?:answer|reply|respond|write|say|put|express|translate|translated|translation)\b[^.?!\n]{0,60}?"
    rf"\b(?:in|into|to) (?:the )?({'|'.join(LANGUAGES)})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Demands:
    """`closed`: the phrase that asks for a closed form, "" without one; `words`: how many words it allows, where it
    says so; `language`: the one (ISO 639) that the answer must be in; `named`: all that the question names."""

    closed: str = ""
    words: int = 0
    language: str | None = None
    named: frozenset[str] = frozenset()


@lru_cache(256)
def demands(prompt: str) -> Demands:
    """What the prompt demands; the classifiers of one answer, and the arms of a run, share prompts."""
    asked = _instructions(prompt)
    lower = asked.lower()
    closed = CLOSED_FORM.search(asked) if any(key in lower for key in _KEYS) else None
    phrase = closed.group(0) if closed else ""
    number = _NAMED_NUMBER.search(phrase)
    said = number.group(0).lower() if number else ""
    language, named = None, frozenset[str]()
    if any(name in lower for name in LANGUAGES):
        named = frozenset(LANGUAGES[name.lower()] for name in _NAMED_LANGUAGE.findall(asked))
        for found in _DEMANDED_LANGUAGE.finditer(asked):
            language = LANGUAGES[found.group(1).lower()]
    return Demands(phrase, _COUNT.get(said, int(said) if said.isdecimal() else 0), language, named)


def _instructions(prompt: str) -> str:
    """The first turn where there are several, and the last one that is more than a role's name."""
    turns = [turn for turn in CHAT_MARK.split(prompt) if len(turn.split()) > 1]
    chosen = [turns[0], turns[-1]] if len(turns) > 1 else turns
    return "\n".join(turn if len(turn) <= 2 * READ else f"{turn[:READ]}\n{turn[-READ:]}" for turn in chosen)
