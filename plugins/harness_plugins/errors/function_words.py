"""The commonest function words of seven European languages: in a few words they tell the language better than any
statistics of letters, because every sentence has some and no name changes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_LISTS = {
    "en": "the of and to in is are was were that this these it its for with not an a he she they you your his her"
    " their has have had from by on at as which who whom what when where how why be been do does did can will"
    " would should there if or but so than into about because i my we our",
    "de": "der die das den dem des ein eine einen einem einer und ist sind war waren nicht mit von zu zum zur im in"
    " auf für auch als es sich er sie ich wir ihr wird werden hat haben habe wie aus bei nach dass oder aber"
    " durch sein",
    "fr": "le la les un une des du de et est sont était dans que qui pour pas sur au aux avec ce cette ces il elle"
    " ils elles je nous vous se sa son ses plus par ou mais être avoir a ont très où l d qu c",
    "es": "el la los las un una unos unas de del y es son era en que por para con no se su sus al lo como más pero"
    " este esta está están fue ha han hay muy también o si porque sobre entre a",
    "it": "il lo la gli le i un una uno di del della dei delle dello degli e è sono era in che per con non si su al"
    " alla da dal dalla nel nella come più ma questo questa ha hanno anche o perché sul sulla l d a",
    "pt": "o a os as um uma de do da dos das e é são era em no na nos nas que por para com não se seu sua ao à como"
    " mais mas este esta isso foi tem há muito também ou porque pelo pela",
    "nl": "de het een en is zijn was waren van in op te dat die voor met niet aan er ook als hij zij ze ik je we"
    " wordt worden heeft hebben bij naar om uit maar of door deze dit wat",
}
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in _LISTS.items()}
# Words by which a question begins in one of these languages and in no other, English and its slips ("wer is it?") too.
_QUESTIONS = {
    "de": "welche welcher welches welchem welchen warum wann wieviel wohin woher weshalb",
    "fr": "quel quelle quels quelles combien pourquoi où lequel laquelle",
    "es": "qué quién quiénes cuál cuáles cuándo dónde cuánto cuánta cuántos cuántas cómo",
    "it": "quale quali quanti quante chi cosa perché",
    "pt": "quem quantos quantas onde",
    "nl": "welk welke hoeveel waar waarom wanneer wiens",
}
_ASKS = {word: language for language, words in _QUESTIONS.items() for word in words.split()}
# Those that also stand inside names ("El Salvador", "Museo del Prado", "The House of the Rising Sun").
_NAMED = (
    "the of and der die das den des von zu zum zur am im le la les du de et l d el los las del y il lo gli i di della"
    " dei delle dello degli e o os as do da dos das het van en au aux in"
)
_IN_NAMES = frozenset(_NAMED.split())
_WORD = re.compile(r"[^\W\d_]+")


def counts(words: Iterable[str]) -> Mapping[str, int]:
    """Language → how many of the words (in lower case) are function words of it. Languages without any are left out."""
    found: dict[str, int] = {}
    for word in words:
        for language, common in FUNCTION_WORDS.items():
            if word in common:
                found[language] = found.get(language, 0) + 1
    return found


def telling(words: Iterable[str], one: str, other: str) -> tuple[int, int]:
    """How many words are function words of the one language only, and of the other only."""
    listed = list(words)
    ours, theirs = FUNCTION_WORDS.get(one, frozenset()), FUNCTION_WORDS.get(other, frozenset())
    return sum(w in ours and w not in theirs for w in listed), sum(w in theirs and w not in ours for w in listed)


def asks_in(text: str) -> str:
    """The language of a question by its first two words ("Quel animal ...?", "An welchem Fluss ...?"), or ""."""
    first = _WORD.findall(text[:40].lower())[:2] if "?" in text else []
    return next((_ASKS[word] for word in first if word in _ASKS), "")


def is_name(text: str) -> bool:
    """Whether a text may be nothing but names: words with capitals, joined by words that stand in names. It does not
    begin with another function word ("Ein Berliner")."""
    words = _WORD.findall(text)
    first = words[0].lower() if words else ""
    if first not in _IN_NAMES and any(first in common for common in FUNCTION_WORDS.values()):
        return False
    return all(word[0].isupper() or word in _IN_NAMES for word in words)
