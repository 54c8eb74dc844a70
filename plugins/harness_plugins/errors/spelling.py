"""Misspelt words: an English dictionary (pyspellchecker's), and an allow-list of everything that the task itself says.

The dictionary is American; British forms are looked up by their American ones. Names are no mistakes: a word with a
capital counts only when it is nearly, but not quite, a word of the reference.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.types import ErrorLabel, EvalContext, Example, Prediction
from harness_plugins.errors.function_words import counts
from harness_plugins.errors.language import language_of, probabilities
from harness_plugins.metrics.text import normalise, plain

MOST_CHARACTERS = 5000
COMMON = 1000  # occurrences in the dictionary's corpus: "the" has 76 million, "mitochondria" 194
FAR_LETTERS = 8  # words from this length on may be two edits from the right one
LONG_LETTERS, RARER = 7, 20  # a word of so many letters and of the same ends may be so many times rarer
HALF = 4  # letters: two common words of so many and more make a word together
DERIVED = 5  # letters: words made of others are, from here on, no words when a common one is near ("studing")
CARELESS = 2  # misspelt words of an input that make its other strange words misspelt ones, too
TYPED = 5  # words of the input may be names or terms, unless so many times more common ones are near
COPIED_LETTERS = 5  # shorter words of the input may be names or terms
LANGUAGE_WORDS = 4  # the language of shorter texts is anybody's guess
ASKED_LETTERS = 7  # words of the question from this length on are what a word near them was meant to be
MOST_ALIGNED, MOST_TEXTS = 600, 6  # characters; texts
LEAST_ALIGNED, ALIGNED_EDITS = 4, 4  # letters
ENGLISH = 60_000  # occurrences from which a short word is one of the dictionary's own language, too ("door", "met")
FREQUENT = 20_000  # occurrences
_OPENING = re.compile(r"(?:^|[.!?:]\s+|\n\s*)([A-Z][a-z]+)\b")
QUOTED = re.compile(r"^\W*[\"“”‘’«»]\w{1,5}[\"“”‘’«»]\W*$")  # a short word that is talked about
_DROPPED = re.compile(r"in['’]\W*$")  # "sleepin' in"
SPELT = ("de", "en", "es", "fr", "it", "nl", "pt")  # languages with function words and a dictionary
_EDGES = "\"'“”‘’«»()[]{}<>*_`~.,;:!?…-–—/|"
_PLAIN_WORD = re.compile(r"[a-z]+(?:'[a-z]{1,2})?")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_BRITISH = [
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"our", "or"),
        (r"is(e|es|ed|ing|er|ers|ation|ations)$", r"iz\1"),
        (r"ys(e|es|ed|ing|er|ers)$", r"yz\1"),
        (r"re(s?)$", r"er\1"),
        (r"ogue(s?)$", r"og\1"),
        (r"([fct])ence(s?)$", r"\1ense\2"),
        (r"amme(s?)$", r"am\1"),
        (r"ae|oe", "e"),
        (r"ll(ed|ing|er|ers|or|ors|ous|ously|en|ery|ist|ists)$", r"l\1"),
        (r"l(ment|ful|fully)", r"ll\1"),
        (r"ph", "f"),
    )
]
_ENDINGS = ("s", "es", "ed", "d", "ing", "er", "ers", "ly", "ness", "less", "ful", "able", "like", "wise", "ish")
_HISSING = ("s", "x", "z", "h", "o")  # what "es" follows where it is more than "s" after an "e"
# Words that are younger than the dictionary's corpus, or read as words by now.
_NEW_WORDS = (
    "api apis app apps async backend blockchain bool cafe cafes carb carbs chatbot chatbots cliche cliches config "
    "crypto css csv dataset datasets emoji emojis frontend hashtag html http https influencer json latex "
    "lowercase markdown metadata middleware multi noir offline pdf pdfs pixel pixels plugin plugins postgres regex "
    "selfie selfies smartphone smartphones sql startup startups streaming substring touchscreen uppercase url "
    "urls vegan vlog webinar webpage webpages whitespace wifi workflow workflows xml yaml "
)
_YOUNGER = frozenset(_NEW_WORDS.split())
_BEGINNINGS = (
    "un", "re", "non", "pre", "anti", "co", "sub", "over", "under", "multi", "inter", "micro", "mis", "out", "semi",
    "super", "hyper", "bio", "geo", "eco", "socio", "hydro", "photo", "electro", "neuro", "trans", "self", "post",
)  # fmt: skip


def _stems(word: str, end: str) -> list[str]:
    """What a word may be without an ending: "baking" from "bak" or "bake", "baked" from "bake", "boxes" from "box"."""
    stem = word.removesuffix(end)
    if (
        stem == word
        or len(stem) < 3
        or (end == "es" and not stem.endswith(_HISSING))
        or (end == "d" and stem[-1] != "e")
    ):
        return []
    return [stem, f"{stem}e"] if end[0] in "aei" else [stem]


class Dictionary:
    """Known words and nearest known ones, remembered: answers use few distinct words."""

    def __init__(self, language: str) -> None:
        from spellchecker import SpellChecker

        self._checker: Any = SpellChecker(language=language, distance=1)
        self.known = lru_cache(65536)(self._known)
        self.nearest = lru_cache(16384)(self._nearest)
        self.far = lru_cache(16384)(self._far)
        self._beginning: dict[str, list[str]] = {}

    def frequency(self, word: str) -> int:
        return int(self._checker[word])

    def _known(self, word: str) -> bool:
        bare = word.split("'")[0] if "'" in word else word
        if bare in _YOUNGER:
            return True
        if any(self.frequency(form) for form in (word, bare)):
            return True
        if any(self.frequency(pattern.sub(new, bare)) for pattern, new in _BRITISH if pattern.search(bare)):
            return True
        if self.frequency(f"{bare[:-1]}'{bare[-1:]}") >= FREQUENT:  # "theres", "dont"
            return False
        if self.frequency(bare.removesuffix("s")):
            return True
        return self._derived(bare) and not (len(bare) >= DERIVED and self.nearest(bare)[1] >= COMMON)

    def _derived(self, word: str) -> bool:
        """Whether a word is made of known ones: with an ending, a beginning, or of two words."""
        stems = [stem for end in _ENDINGS for stem in _stems(word, end)]
        halves = [(word[:place], word[place:]) for place in range(HALF, len(word) - HALF + 1)]
        if any(min(map(self.frequency, pair)) >= COMMON for pair in halves):  # "birthdate"
            return True
        stems += [word[len(start) :] for start in _BEGINNINGS if word.startswith(start) and len(word) - len(start) >= 4]
        return any(map(self.frequency, stems))

    def _nearest(self, word: str) -> tuple[str, int]:
        """The most frequent word one edit away, with its frequency; ("", 0) when there is none."""
        found = (self._checker.candidates(word) or set()) - {word}
        best = max(found, key=lambda other: (self.frequency(other), other), default="")
        return best, self.frequency(best) if best else 0

    def _far(self, word: str) -> tuple[str, int]:
        """The most frequent word that begins with the same two letters and is two edits away, among the common ones."""
        from rapidfuzz.distance import OSA

        near = [
            other
            for other in self._common().get(word[:2], ())
            if abs(len(other) - len(word)) <= 2 and OSA.distance(word, other, score_cutoff=2) <= 2
        ]
        best = max(near, key=lambda other: (self.frequency(other), other), default="")
        return best, self.frequency(best) if best else 0

    def _common(self) -> dict[str, list[str]]:
        if not self._beginning:
            for word, frequency in self._checker.word_frequency.dictionary.items():
                if frequency >= COMMON and len(word) >= FAR_LETTERS - 2:
                    self._beginning.setdefault(word[:2], []).append(word)
        return self._beginning


@lru_cache(8)
def vocabulary(language: str) -> Container[str]:
    """All words of a language; nothing for those without a dictionary."""
    from spellchecker import SpellChecker

    return frozenset(SpellChecker(language=language).word_frequency.dictionary) if language in SPELT else frozenset()


@lru_cache(4)
def dictionary(language: str) -> Dictionary:
    return Dictionary(language)


class Spelling:
    """*misspelled*: at least `words` words of the answer are misspelt. A word is misspelt when it is in lower case, has
    `letters` letters or more, is not in the dictionary, and a word of the dictionary that occurs at least `frequency`
    times in its corpus (a twentieth of that is enough for a long word of the same ends) is one edit away (two from
    eight letters on, with the same first two letters); or, in any case, when it is one edit (two or three in long words
    that begin alike) from a word of a reference that the answer lacks, or nearly a long word of the question, or, with
    a capital, from a name in it; or when it stands where the question or a reference, said again for the rest, has a
    word that begins alike ("the squeild root"). Forms of known words ("rebaked") are in the dictionary unless a common
    word is one edit away ("studing"). Words of references, passages and the task's other texts are no mistakes; those
    of the item's own input, which may be misspelt, are from five letters on when the right word is one edit away, and
    all such words when the input has two of them. A capital counts as lower case where the input has the word so, and
    at the beginning of a sentence when the right word is frequent. Passed over are the last word of an answer that was
    cut off, short words in quotation marks, words of another language of which the text has function words, and answers
    of which less than half is in the dictionary or that are clearly in another language."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        language: str = Field("en", description="Dictionary of pyspellchecker: en, de, es, fr, it, nl, pt, ru, …")
        words: int = Field(1, ge=1, description="Misspelled: from this many misspelt words on.")
        letters: int = Field(4, ge=2, description="Shorter words are not judged.")
        frequency: int = Field(COMMON, ge=0, description="How common the right word must be in the dictionary.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def classify(self, prediction: Prediction, example: Example, context: EvalContext) -> Sequence[ErrorLabel]:
        if prediction.finish not in ("stop", "length") or not prediction.parsed:
            return []
        text = plain(prediction.parsed[:MOST_CHARACTERS])
        if any(normalise(text) == normalise(reference) for reference in example.references):
            return []
        found = dict.fromkeys(self._mistakes(text, prediction, example, context))
        if len(found) < self.config.words:
            return []
        return [ErrorLabel("misspelled", "; ".join(f"{wrong!r} for {right!r}" for wrong, right in [*found][:4])[:200])]

    def _mistakes(
        self, text: str, prediction: Prediction, example: Example, context: EvalContext
    ) -> Iterator[tuple[str, str]]:
        known = dictionary(self.config.language)
        parts = text.replace("’", "'").split(" ")
        if prediction.finish == "length" or len(prediction.parsed) > MOST_CHARACTERS:
            parts = parts[:-1]
        words = [part.strip(_EDGES).removesuffix("'s") for part in parts if not _DROPPED.search(part)]
        quoted = {part.strip(_EDGES).lower() for part in parts if QUOTED.match(part)}
        unknown = [
            word
            for word in words
            if len(word) >= self.config.letters and word.isalpha() and not known.known(word.lower())
        ]
        typed = set(_WORD.findall(context.input.lower()))  # words given back tell nothing about the language
        strange = [word for word in unknown if word.lower() not in typed]
        if not unknown or len(strange) * 2 > len([word for word in words if word.isalpha()]) + 1:
            return
        if len(words) >= LANGUAGE_WORDS and _elsewhere(text, self.config.language):
            return
        told = _WORD.findall(context.input)
        capitals = [word for word in told if word.istitle()]
        names = [name for name in _missing(text, capitals, self.config.letters - 1) if not known.known(name)]
        wanted = _missing(text, example.references, self.config.letters)
        meant = [*wanted, *names]
        own = set() if _elsewhere(context.input, self.config.language) else set(told)
        careless = sum(self._typed_wrong(word, known) for word in own) >= CARELESS
        opening = set(_OPENING.findall(prediction.parsed[:MOST_CHARACTERS]))
        suspects = [
            word
            for word in unknown
            if _PLAIN_WORD.fullmatch(word)
            or (not word.isupper() and (word.lower() in own or word in own or word in opening))
            or (not word.isupper() and _near(word.lower(), meant, lower=False))
        ]
        if not suspects:
            return
        replaced = _in_place_of(text, [context.input, *example.references])
        given = {word.lower() for word in own}
        allowed = set(_WORD.findall(" ".join([prediction.prompt, *example.references]).lower()))
        references = set(_WORD.findall(" ".join(example.references).lower()))
        foreign = _quoted_words(words, known, self.config.language)
        asked = [word.lower() for word in own if len(word) >= ASKED_LETTERS and known.known(word.lower())]
        for word in suspects:
            lower = word.lower()
            if lower in foreign or (lower in quoted and lower not in given and not _near(lower, wanted, lower=True)):
                continue
            copied = lower in given and lower not in references
            if not copied and (lower in allowed or lower in context.vocabulary):
                continue
            near = [*wanted, *asked] if word == lower else [*wanted, *asked, *names]
            right = "" if lower in allowed else replaced.get(lower, "")
            if right := right or _near(lower, near, lower=word == lower):
                yield word, right
            elif _PLAIN_WORD.fullmatch(word) or lower in own or (careless and word in own):
                right = self._right(lower, known, copied=copied and not careless)
                if right:
                    yield word, right
            elif word in own:
                continue  # a name that the input has, too
            elif len(word) >= COPIED_LETTERS:  # with a capital it may be a name, unless it is nearly a frequent word
                right, frequency = known.nearest(lower)
                if frequency >= FREQUENT:
                    yield word, right

    def _typed_wrong(self, word: str, known: Dictionary) -> bool:
        """Whether a word of the input is a misspelt one."""
        if len(word) < self.config.letters or not _PLAIN_WORD.fullmatch(word) or known.known(word):
            return False
        return known.nearest(word)[1] >= self.config.frequency

    def _right(self, word: str, known: Dictionary, *, copied: bool) -> str:
        """The word that was meant, when that is clear. Words of the input must be longer, and nearer to it."""
        right, frequency = known.nearest(word)
        if copied and len(word) < COPIED_LETTERS and right.replace("'", "") != word:  # "dont" is none of these
            return ""
        if (not right or frequency < self.config.frequency) and len(word) >= FAR_LETTERS and not copied:
            right, frequency = known.far(word)
        common = self.config.frequency
        enough = common // RARER if _alike(word, right) else common * TYPED if copied else common
        return right if right and frequency >= enough else ""


def correct(text: str, language: str, prompt: str, vocabulary: Container[str], *, cut: bool = False) -> str:
    """The text with misspelt words corrected: lower-case words that the dictionary, the prompt and the task do not
    have, and that are one edit from a common word. `cut`: the last word may be half a word, and stays."""
    known = dictionary(language)
    pieces = re.split(r"(\s+)", text)
    words = [piece.strip(_EDGES) for piece in pieces]
    judged = [word for word in words if word.isalpha()]
    unknown = [word for word in judged if len(word) >= 4 and not known.known(word.lower())]
    if not unknown or len(unknown) * 2 > len(judged) + 1:
        return text
    if len(judged) >= LANGUAGE_WORDS and _elsewhere(plain(text[:MOST_CHARACTERS]), language):
        return text
    allowed = set(_WORD.findall(prompt.lower()))
    last = max((place for place, word in enumerate(words) if word), default=-1)
    for place, word in enumerate(words):
        if word not in unknown or not _PLAIN_WORD.fullmatch(word) or (cut and place == last):
            continue
        if word not in allowed and word not in vocabulary:
            right, frequency = known.nearest(word)
            if right and frequency >= COMMON:
                pieces[place] = pieces[place].replace(word, right)
    return "".join(pieces)


def _elsewhere(text: str, language: str) -> bool:
    """Whether the text is clearly in another language than the dictionary."""
    if language_of(text, 0.7) not in (None, language):
        return True
    found = probabilities(text)
    return max(found.values()) >= 0.7 and found.get(language, 0.0) < 0.1


def _quoted_words(words: Sequence[str], known: Dictionary, language: str) -> Container[str]:
    """The vocabulary of the other language of which the text has the most function words that are none of its own."""
    strange = counts(word.lower() for word in words if word and known.frequency(word.lower()) < ENGLISH)
    others = [other for other in strange if other != language]
    return vocabulary(max(others, key=lambda other: (strange[other], other))) if others else frozenset()


def _missing(text: str, references: Sequence[str], letters: int) -> list[str]:
    """Words of the references that the answer does not have."""
    has = set(_WORD.findall(text.lower()))
    found = (word for reference in references for word in _WORD.findall(reference[:1000].lower()))
    wanted = dict.fromkeys(word.removesuffix("'s") for word in found)
    return [word for word in wanted if len(word) > letters and word not in has]


def _in_place_of(text: str, others: Sequence[str]) -> dict[str, str]:
    """Words that stand where other texts, said again for the rest, have one that begins alike: "the squeild root"."""
    words = _WORD.findall(text[:MOST_ALIGNED].lower())
    found: dict[str, str] = {}
    for other in others[:MOST_TEXTS]:
        told = _WORD.findall(other[:MOST_ALIGNED].lower())
        for kind, start, end, first, last in SequenceMatcher(None, words, told, autojunk=False).get_opcodes():
            if kind == "replace" and end - start == last - first:
                pairs = zip(words[start:end], told[first:last], strict=True)
                found.update((word, right) for word, right in pairs if _begins_alike(word, right))
    return found


def _begins_alike(word: str, right: str) -> bool:
    from rapidfuzz.distance import OSA

    if min(len(word), len(right)) < LEAST_ALIGNED or word[:2] != right[:2] or _inflected(word, right):
        return False
    return OSA.distance(word, right, score_cutoff=ALIGNED_EDITS) <= ALIGNED_EDITS


def _near(word: str, wanted: Sequence[str], *, lower: bool) -> str:
    """The wanted word that this one is nearly, by optimal string alignment; "" when there is none. `lower`: it stands
    in lower case and is no name."""
    from rapidfuzz.distance import OSA

    for right in wanted:
        alike = len(right) >= 6 and word[:2] == right[:2] and lower
        limit = 2 if alike or len(right) >= 9 else 1
        limit = 3 if len(right) >= FAR_LETTERS and word[:4] == right[:4] else limit
        if word != right and not _inflected(word, right) and OSA.distance(word, right, score_cutoff=limit) <= limit:
            return right
    return ""


def _alike(word: str, right: str) -> bool:
    """Whether a long word begins and ends as the right one."""
    return len(word) >= LONG_LETTERS and right[:3] == word[:3] and right[-1:] == word[-1]


def _inflected(word: str, right: str) -> bool:
    """Singular and plural, verb forms and the like are other words, not misspelt ones."""
    return any(word + end == right or right + end == word for end in _ENDINGS)
