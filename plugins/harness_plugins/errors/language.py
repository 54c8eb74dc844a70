"""Answers in another language than the task's, by py3langid (a naive Bayes classifier over byte sequences; Lui and
Baldwin, 2012), which comes with its model and needs no network."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.types import ErrorLabel, EvalContext, Example, Prediction
from harness_plugins.metrics.text import normalise, plain

MOST_CHARACTERS = 1000
# Languages with many speakers and texts: among all 140, rare relatives of common ones win on short texts.
LANGUAGES = (
    "ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "gu", "he", "hi", "hr", "hu",
    "hy", "id", "is", "it", "ja", "ka", "kk", "km", "kn", "ko", "lo", "lt", "lv", "mk", "ml", "mn", "mr", "ms", "my",
    "ne", "nl", "no", "pa", "pl", "pt", "ro", "ru", "si", "sk", "sl", "sq", "sr", "sv", "sw", "ta", "te", "th", "tl",
    "tr", "uk", "ur", "vi", "zh",
)  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")
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
    """*wrong_language*: the answer is in another language than its task. The task's language is `language`, or else
    what input and references are in; an answer counts only from `words` words on (in scripts without spaces: as many
    characters), names and words of the prompt left out, and only when its own language has a probability of
    `certain` or more and the task's one of less than `unlikely`. Says nothing about exact answers and label tasks."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        language: str | None = Field(None, description="The task's language (ISO 639); default: read off each item.")
        words: int = Field(4, ge=1, description="Shorter answers are not judged.")
        certain: float = Field(0.7, gt=0, le=1, description="Least probability of the answer's language.")
        unlikely: float = Field(0.1, gt=0, le=1, description="The task's language must have less than this.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def classify(self, prediction: Prediction, example: Example, context: EvalContext) -> Sequence[ErrorLabel]:
        if prediction.finish not in ("stop", "length") or context.labels:
            return []
        text = plain(prediction.parsed[: 4 * MOST_CHARACTERS])
        if any(normalise(text) == normalise(reference) for reference in example.references):
            return []
        words = self._own_words(text, prediction, context)
        if len(words) < self.config.words:
            return []
        expected = self.config.language or self._expected(example, context)
        found = probabilities(" ".join(words))
        best = max(found, key=lambda language: found[language])
        share = found[best]
        if expected is None or best == expected or share < self.config.certain:
            return []
        if found.get(expected, 0.0) >= self.config.unlikely:
            return []
        return [ErrorLabel("wrong_language", f"{best} ({share:.2f}), the task is in {expected}")]

    def _own_words(self, text: str, prediction: Prediction, context: EvalContext) -> list[str]:
        """The answer's words but for names (capitals inside it) and what the prompt has; in scripts without spaces, its
        characters."""
        shown = set(_WORD.findall(f"{prediction.prompt}\n{context.input}".lower()))
        words: list[str] = []
        for place, word in enumerate(_WORD.findall(text)):
            if word.lower() not in shown and (place == 0 or not word[0].isupper()):
                words += list(word) if _UNSPACED.search(word) else [word]
        return words

    def _expected(self, example: Example, context: EvalContext) -> str | None:
        """What input and references are in, when that is clear."""
        found = probabilities(plain(" ".join([context.input[-MOST_CHARACTERS:], *example.references[:3]])))
        best = max(found, key=lambda language: found[language])
        return best if found[best] >= self.config.certain else None
