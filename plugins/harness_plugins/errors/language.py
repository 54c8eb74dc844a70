"""Answers in another language than the task's: by function words, and by py3langid (a naive Bayes classifier over byte
sequences; Lui and Baldwin, 2012), which comes with its model and needs no network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.types import ErrorLabel, EvalContext, Example, Prediction
from harness_plugins.errors.demands import demands
from harness_plugins.errors.function_words import FUNCTION_WORDS, asks_in, counts, is_name, telling
from harness_plugins.errors.judge import structure
from harness_plugins.metrics.text import normalise, plain

MOST_CHARACTERS = 1000
LEAST_OWN = 3  # words, names included, that do not stand in the question
OWN_SHARE = 0.4  # an answer of which fewer words are its own only repeats its question
# Languages with many speakers and texts: among all 140, rare relatives of common ones win on short texts.
LANGUAGES = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he", "hi", "hr", "hu",
    "hy", "id", "is", "it", "ja", "ka", "kk", "km", "kn", "ko", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "my",
    "ne", "nl", "no", "pa", "pl", "pt", "ro", "ru", "si", "sk", "sl", "sq", "sr", "sv", "sw", "ta", "te", "th", "tl",
    "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
_MARKER = re.compile(r"^\s*(?:[A-Za-z]|\d{1,3})[.):]\s", re.MULTILINE)  # of an item of a list: no word
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@lru_cache(1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(set(LANGUAGES) & set(identifier.labels))
    return identifier


@lru_cache(8192)
def probabilities(text: str) -> Mapping[str, float]:
    """Language (ISO 639) → probability."""
    return dict(_identifier().rank(text[:MOST_CHARACTERS]))


class Language:
    """*wrong_language*: the answer is in another language than its task. The task's languages are `language`, or else
    the one that the prompt demands ("Answer in Spanish"), or else those of the input and of the references, and those
    that the prompt names. First evidence are the commonest function words of seven European languages, names and words
    of the input apart: the answer has `function_words` of another language, or one where the letters say the same, and
    none of the task's. Answers that for the most part repeat the question, that have less than three words of their
    own, and texts that may be nothing but names, are passed over. Where function words say nothing, an answer counts
    from `words` words on (in scripts without spaces: as many characters), names and words of the input left out, and
    only when its own language has a probability of `certain` or more and the task's ones of less than `unlikely`. Says
    nothing about exact answers and label tasks."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        language: str | None = Field(None, description="The task's language (ISO 639); default: read off each item.")
        words: int = Field(4, ge=1, description="Shorter answers are not judged by their letters.")
        certain: float = Field(0.7, gt=0, le=1, description="Least probability of the answer's language.")
        unlikely: float = Field(0.1, gt=0, le=1, description="The task's language must have less than this.")
        function_words: int = Field(2, ge=1, description="So many function words of another language are enough.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def classify(self, prediction: Prediction, example: Example, context: EvalContext) -> Sequence[ErrorLabel]:
        if prediction.finish not in ("stop", "length") or context.labels:
            return []
        text = plain(_MARKER.sub("", prediction.parsed[: 4 * MOST_CHARACTERS]))
        if (
            not text
            or structure(text) is not None
            or any(normalise(text) == normalise(reference) for reference in example.references)
        ):
            return []
        asked = demands(prediction.prompt)
        fixed = self.config.language or asked.language
        expected = {fixed} if fixed else self._expected(example, context)
        if not expected:
            return []
        if not fixed:
            expected |= asked.named  # "What is the French word for ...?" may be answered in French
        translate = asked.language and language_of(context.input, self.config.certain) != asked.language
        if found := self._found(text, expected, "" if translate else context.input, example.references):
            return [ErrorLabel("wrong_language", f"{found}, the task is in {' or '.join(sorted(expected))}")]
        return []

    def _found(self, text: str, expected: Set[str], known: str, references: Sequence[str]) -> str:
        """Evidence of another language than the expected ones, or ""."""
        shown = set(_WORD.findall(" ".join([known, *references]).lower()))
        there = _unnamed(text)
        words = [word for word in there if word.lower() not in shown]
        own = _spaced([word for word in _WORD.findall(text) if word.lower() not in shown])
        if len(own) < LEAST_OWN or len(words) < OWN_SHARE * len(there):
            return ""
        if 2 * sum(len(word) == 1 for word in words) > len(words):  # letters, such as "A: B: C:"
            return ""
        common = counts(word.lower() for word in words)
        if common and expected <= FUNCTION_WORDS.keys() and not is_name(text):
            best = max(common, key=lambda language: common[language])
            pairs = [telling([word.lower() for word in words], best, language) for language in expected]
            ours, theirs = min(pair[0] for pair in pairs), max(pair[1] for pair in pairs)
            enough = ours >= self.config.function_words
            other = best not in expected and ours > 0 and not theirs
            if other and (enough or self._share(text, best, expected) >= self.config.certain):
                return f"{best} ({ours} function words)"
            if theirs and theirs >= ours:
                return ""
        letters = _spaced(words)
        if len(letters) < self.config.words or is_name(text):
            return ""
        found = probabilities(" ".join(letters))
        best = max(found, key=lambda language: found[language])
        unlikely = all(found.get(language, 0.0) < self.config.unlikely for language in expected)
        return f"{best} ({found[best]:.2f})" if unlikely and found[best] >= self.config.certain else ""

    def _share(self, text: str, language: str, expected: Set[str]) -> float:
        """How probable a language is by the text's letters, with only the expected ones to choose from besides."""
        found = probabilities(text)
        own = found.get(language, 0.0)
        return own / (own + sum(found.get(other, 0.0) for other in expected) or 1.0)

    def _expected(self, example: Example, context: EvalContext) -> set[str]:
        """What the input and each reference are in, as far as that is clear."""
        texts = [context.input[-MOST_CHARACTERS:], *example.references[:3]]
        alone = {language for text in texts if (language := language_of(text, self.config.certain))}
        together = language_of(" ".join(texts), self.config.certain)
        return alone | ({together} if together else set())


@lru_cache(8192)  # the arms of a run share inputs and references
def language_of(text: str, certain: float) -> str | None:
    """The language that a text is in, when that is clear: by function words, or else by letters."""
    text = plain(text)
    if language := asks_in(text):
        return language
    words = [word.lower() for word in _unnamed(text)]
    common = counts(words)
    ranked = sorted(common, key=lambda language: -common[language])
    first = ranked[0] if ranked else ""
    clear = bool(first) and common[first] >= 2 and (len(ranked) == 1 or common[first] > common[ranked[1]])
    if clear and ("en" not in common or first == "en" or telling(words, first, "en")[0] >= 2):
        return first  # "wat is in the box?" is no Dutch
    if len(words) < 3 and not _UNSPACED.search(text):
        return None
    found = probabilities(text)
    best = max(found, key=lambda language: found[language])
    if found[best] >= certain:
        return best
    main = sum(found.get(language, 0.0) for language in FUNCTION_WORDS)
    return best if best in common and found[best] >= certain * main else None


def _spaced(words: Sequence[str]) -> list[str]:
    """Words, and the characters of those in scripts without spaces."""
    return [part for word in words for part in (word if _UNSPACED.search(word) else [word])]


def _unnamed(text: str) -> list[str]:
    """The words of a text but for names: capitals inside a sentence."""
    words = []
    for match in _WORD.finditer(text):
        before = (
            text[max(0, match.start() - 6) : match.start()].rstrip(" \"'“„‘«(¿¡-*")[-1:]
            if match.group(0)[0].isupper()
            else ""
        )
        if not match.group(0)[0].isupper() or before in ("", ".", "!", "?", ":", "\n"):
            words.append(match.group(0))
    return words
