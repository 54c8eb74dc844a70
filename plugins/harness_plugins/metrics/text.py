"""Text forms that metrics and error classifiers share: normalisation, containment, labels. Standard library only.

Normalisation follows SQuAD's evaluation script (Rajpurkar et al., 2016): lower case, no punctuation, no articles,
single spaces; on printable ASCII it equals that script wherever the script leaves anything at all. It goes further in
four places, because answers are not always English words:
- Unicode is composed (NFC), and punctuation means Unicode's punctuation, not only ASCII's;
- control and format characters, lone surrogates and terminal escapes are dropped;
- scripts that are written without spaces (Chinese, Japanese, Thai, ...) are split into characters (as MLQA does), so
  that "whole word" and token overlap mean something there;
- where SQuAD's form is empty ("A", "the", "?!") articles, then punctuation, are kept. Otherwise the gold answer "A"
  would equal every punctuation-only answer. So the normalised form is empty only for a truly empty text.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

# Caches hold short texts only: a run has few distinct references, and a long text is dear to keep.
CACHED_CHARACTERS = 1000
CACHED_TEXTS = 8192

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_ASCII_PUNCTUATION = frozenset(string.punctuation)
# Thai to Myanmar, Khmer, kana, Chinese characters with their extensions.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF))
_UNSPACED_RARE = ((0xF900, 0xFAFF), (0x20000, 0x323AF))


def _invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs") and not character.isspace()


def is_punctuation(character: str) -> bool:
    return character in _ASCII_PUNCTUATION or unicodedata.category(character).startswith("P")


class _Visible(dict[int, str | None]):
    """A `str.translate` table, filled on demand: drops what cannot be seen."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        self[code] = None if _invisible(character) else character
        return self[code]


class _Words(dict[int, str | None]):
    """A `str.translate` table, filled on demand: drops punctuation as well, and sets unspaced scripts apart."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        if _invisible(character) or is_punctuation(character):
            self[code] = None
        elif any(low <= code <= high for low, high in (*_UNSPACED, *_UNSPACED_RARE)):
            self[code] = f" {character} "
        else:
            self[code] = character
        return self[code]


_VISIBLE, _WORDS = _Visible(), _Words()


def _composed(text: str) -> str:
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def plain(text: str) -> str:
    """What can be seen, with single spaces; case and punctuation stay."""
    return " ".join(_composed(text).translate(_VISIBLE).split())


def unpunctuated(text: str) -> str:
    """Words with single spaces; case and articles stay."""
    return " ".join(_composed(text).translate(_WORDS).split())


def _squad(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", _composed(text).lower().translate(_WORDS)).split())


def _normalise(text: str) -> str:
    return _squad(text) or unpunctuated(text).lower() or plain(text).lower()


_normalise_cached = lru_cache(CACHED_TEXTS)(_normalise)


def normalise(text: str) -> str:
    """SQuAD's normal form; see the module's text for the four differences. Empty only for a truly empty text."""
    return _normalise_cached(text) if len(text) <= CACHED_CHARACTERS else _normalise(text)


def contains(text: str, reference: str) -> bool:
    """Whether the normalised reference occurs in the normalised text as whole words.

    An empty reference occurs only in an empty text. A reference of nothing but an article ("A") is looked for with its
    case, and one of nothing but punctuation ("+") as it stands: their normal forms would be found everywhere.
    """
    needle = normalise(reference)
    if not needle:
        return not normalise(text)
    if needle in ("a", "an", "the") or all(map(is_punctuation, needle.replace(" ", ""))):
        bare = unpunctuated(reference)
        return f" {bare} " in f" {unpunctuated(text)} " if bare else plain(reference) in plain(text)
    return f" {needle} " in f" {normalise(text)} "


def overlap_f1(text: str, reference: str) -> float:
    """SQuAD's token F1 of one pair: harmonic mean of token precision and recall, tokens counted with repetition."""
    ours, gold = normalise(text).split(), normalise(reference).split()
    if not ours or not gold or ours == gold:
        return float(ours == gold)
    left: dict[str, int] = {}
    for token in gold:
        left[token] = left.get(token, 0) + 1
    common = 0
    for token in ours:
        if left.get(token, 0) > 0:
            left[token] -= 1
            common += 1
    return 2 * common / (len(ours) + len(gold))


def best_over_references(score: Callable[[str, str], float], text: str, references: Sequence[str]) -> float:
    """The best score against any reference: an answer needs to match one of them only."""
    return max(score(text, reference) for reference in references)


# ---------------------------------------------------------------------------------------------------- labels


def _label_form(text: str) -> str:
    """Case, underscores, hyphens and surrounding punctuation do not make another label."""
    spaced = " ".join(re.sub(r"[_\-]+", " ", plain(text)).casefold().split())
    start, end = 0, len(spaced)
    while start < end and (is_punctuation(spaced[start]) or spaced[start] == " "):
        start += 1
    while end > start and (is_punctuation(spaced[end - 1]) or spaced[end - 1] == " "):
        end -= 1
    return spaced[start:end] or plain(text)


class _Labels:
    """Labels by ever looser forms. A form that several labels share points to none of them."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.exact = frozenset(labels)
        self.levels: list[tuple[Callable[[str], str], dict[str, str | None]]] = []
        for form in (plain, lambda text: plain(text).casefold(), _label_form):
            found: dict[str, str | None] = {}
            for label in labels:
                key = form(label)
                found[key] = label if found.get(key, label) == label else None
            self.levels.append((form, found))
        forms = self.levels[-1][1]
        self.by_length = sorted(((f, label) for f, label in forms.items() if label and f), key=lambda p: -len(p[0]))

    def match(self, text: str) -> str | None:
        if text in self.exact:
            return text
        for form, found in self.levels:
            key = form(text)
            if key in found:
                return found[key]
        return None


@lru_cache(64)
def _labels(labels: tuple[str, ...]) -> _Labels:
    return _Labels(labels)


def match_label(text: str, labels: tuple[str, ...]) -> str | None:
    """The label that a text is: as it stands, else by spaces, else by case, else by punctuation; None when the text is
    no label or could be several (labels may differ only in case or spaces: then only the exact one counts)."""
    return _labels(labels).match(text)


def mentioned_labels(text: str, labels: tuple[str, ...]) -> list[str]:
    """Labels that occur in a text as whole words; a label inside a longer mentioned one does not count."""
    rest = " " + " ".join(re.sub(r"[^\w\s]+|_", " ", plain(text).casefold()).split()) + " "
    found = []
    for form, label in _labels(labels).by_length:
        needle = " " + " ".join(re.sub(r"[^\w\s]+", " ", form).split()) + " "
        if needle.strip() and needle in rest:
            rest = rest.replace(needle, " \0 ")
            found.append(label)
    return found
