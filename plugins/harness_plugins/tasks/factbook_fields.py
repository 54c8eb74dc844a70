"""What is asked about a place of the Factbook: kinds of questions, and how a field's text becomes an answer.

A parser takes a field's cleaned text and returns the acceptable answers, best first, or nothing when the field does not
hold one short, unambiguous answer. Skipping is cheap (there are thousands of fields); a wrong reference is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MAX_ANSWER_WORDS = 8

Parser = Callable[[str], tuple[str, ...]]

_NOTHING = re.compile(r"(?:none|n/?a|unknown|unspecified|not available|see .*)?[\s.;:]*", re.IGNORECASE)
_ESTIMATE = re.compile(r"\s*\((?:[^()]*\b)?(?:est\.|\d{4}(?:[-/]\d{2,4})?)\s*\)")
_NOTE = re.compile(r"\s*[;,.]?\s*\b(?:note|notable)\b.*$", re.IGNORECASE)
_PARENTHESES = re.compile(r"\s*\(([^()]*)\)")
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = rf"\d{{1,2}} (?:{_MONTHS}) \d{{4}}"


@dataclass(frozen=True)
class Kind:
    """One kind of question. `path` is the field that answers it; `also` names fields that may state it too."""

    name: str
    path: str
    phrasings: tuple[str, ...]
    parse: Parser
    also: tuple[str, ...] = ()


def is_nothing(text: str) -> bool:
    """Whether a cleaned text says that there is no value."""
    return _NOTHING.fullmatch(text) is not None


def normalise(text: str) -> str:
    """Lower case, words only: how answers are looked up in documents."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _answers(*candidates: str) -> tuple[str, ...]:
    """Short, distinct candidates in order; nothing at all when the best one is not usable."""
    found: dict[str, str] = {}
    for position, candidate in enumerate(candidates):
        text = candidate.strip(" ,;:")
        if text.endswith(".") and not re.search(r"\b[A-Z]\.$", text):
            text = text[:-1]
        usable = bool(normalise(text)) and not is_nothing(text) and len(text.split()) <= MAX_ANSWER_WORDS
        if not usable and position == 0:
            return ()
        if usable:
            found.setdefault(text.lower(), text)
    return tuple(found.values())


def _plain(text: str) -> str:
    return _NOTE.sub("", _ESTIMATE.sub("", text)).strip(" ;,")


def _is_name(text: str) -> bool:
    """Whether the inside of a pair of parentheses is another name, and no remark."""
    words = text.split()
    return 0 < len(words) <= 5 and text[0].isupper() and not re.search(r"[\d;:]", text)


def _with_aliases(text: str) -> tuple[str, ...]:
    """ "K2 (Mt. Godwin-Austen)" → both names; remarks in parentheses are dropped."""
    inside = [part.strip() for part in _PARENTHESES.findall(text)]
    return _answers(_PARENTHESES.sub("", text), *(part for part in inside if _is_name(part)))


def _whole(text: str) -> tuple[str, ...]:
    text = _plain(text)
    return () if re.search(r"[;:]", text) else _with_aliases(text)


def _first_clause(text: str) -> tuple[str, ...]:
    """What stands before the first semicolon, and the whole text where that is short."""
    text = _plain(text)
    if ":" in text:
        return ()
    return _answers(_PARENTHESES.sub("", text.split(";")[0]), text)


def _matching(pattern: str) -> Parser:
    """An answer is the pattern's first group, where the whole text (without estimates and notes) matches."""
    compiled = re.compile(pattern)

    def parse(text: str) -> tuple[str, ...]:
        match = compiled.fullmatch(_plain(text))
        return _answers(match[1]) if match else ()

    return parse


def _capital(text: str) -> tuple[str, ...]:
    if re.search(r"recogni|proclaim|claim|capital\)|administered|seat of", text):
        return ()
    text = _plain(text)
    return () if re.search(r"[,;:]", text) else _with_aliases(text.replace("(city)", ""))


def _place(text: str) -> tuple[str, ...]:
    """A point of the map without its height: "Jengish Chokusu (Pik Pobedy) 7,439 m"."""
    text = text.split(";")[0]
    match = re.fullmatch(r"(.*?)\s+-?[\d,.]+ m\b.*", text)
    if not match or re.search(r"unnamed|unknown|:|more than|approximately", match[1]):
        return ()
    names = _with_aliases(match[1])
    if names and (shorter := re.match(r"(.+?) (?:on|in|at) ", names[0])):
        return _answers(*names, shorter[1])
    return names


def _independence_date(text: str) -> tuple[str, ...]:
    dates = re.findall(_DATE, text)
    head = re.match(rf"({_DATE})(?=\s*\(|$)", text)
    if not head or len(dates) > 1 or text.startswith("none"):
        return ()
    day, month, year = head[1].split()
    return _answers(head[1], f"{month} {day}, {year}")


def _independence_from(text: str) -> tuple[str, ...]:
    match = re.fullmatch(rf"{_DATE} \(from (?:the )?([A-Z][\w .]*)\)", text)
    if not match or re.search(r" and |mandate|administration|trusteeship|status|protect", match[1]):
        return ()
    other = {"UK": "United Kingdom", "US": "United States", "USSR": "Soviet Union"}.get(match[1])
    return _answers(match[1], *([other] if other else []))


def _shares(text: str) -> list[tuple[str, float]]:
    """Names with percentages, where the text starts with such a list; parentheses are skipped."""
    while (flat := _PARENTHESES.sub("", text)) != text:
        text = flat
    found = []
    for part in text.split(","):
        match = re.match(r"\s*([A-Z][^%\d<>~:;]*?) (\d+(?:\.\d+)?)%", part)
        if not match:
            break
        found.append((match[1].strip(), float(match[2])))
    return found


def _largest(text: str) -> tuple[str, ...]:
    """The name with the largest share, when the list is clear about it and says so with its first entry."""
    shares = _shares(_plain(text))
    if len(shares) < 2 or shares[0][1] <= max(share for _, share in shares[1:]):
        return ()
    if any(float(share) >= shares[0][1] for share in re.findall(r"none (\d+(?:\.\d+)?)%", text)):
        return ()
    return _answers(shares[0][0])


def _official_language(text: str) -> tuple[str, ...]:
    """The one or two languages marked as official everywhere in the place."""
    found = re.findall(r"(?:^|[,;] )([A-Z][\w' -]*?)(?: \d[\d.]*%)? \(official\)", text)
    if not 0 < len(found) <= 2 or text.count("official") != len(found) or ":" in text:
        return ()
    if len(found) == 1:
        return _answers(found[0])
    return _answers(f"{found[0]} and {found[1]}", f"{found[0]}, {found[1]}", f"{found[1]} and {found[0]}")


def _currency(text: str) -> tuple[str, ...]:
    match = re.match(r"([^()]+?)\s*(?:\(([A-Z]{3})\))?\s*per US dollar", text)
    if not match or " or " in match[1]:
        return ()
    name = match[1].strip()
    single = [name[:-1]] if name.endswith("s") else []
    return _answers(name, *single, *([match[2]] if match[2] else []))


def _title(text: str) -> tuple[str, ...]:
    """The title of an anthem, with its translation: "Kassaman" (We Pledge)."""
    match = re.match(r"[\"“]([^\"“”]+)[\"”](?: \(([^()]*)\))?", text)
    if not match or re.search(r";| and \"|\) \"", text):
        return ()
    return _answers(match[1], (match[2] or "").strip('"“”'))


def _legislature(text: str) -> tuple[str, ...]:
    text = _plain(text)
    return () if re.search(r"[;:]| and the ", text) else _with_aliases(text)


def _comparison(text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in _plain(text).split(";")]
    return (
        () if ":" in text else _answers(parts[0], *(part for part in parts[1:] if part.startswith(("about", "slight"))))
    )


def _demonym(text: str) -> tuple[str, ...]:
    text = _PARENTHESES.sub("", text.replace("(s)", "")).strip()
    if "," in text or text.isupper():
        return ()
    return _answers(*re.split(r" or |; ?", text))


def _list(text: str) -> tuple[str, ...]:
    """A short list such as colours: as it stands and with "and" before the last."""
    text = _plain(text)
    if re.search(r"[;:()]", text):
        return ()
    parts = [part.strip() for part in text.split(",")]
    spoken = ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else text
    return _answers(", ".join(parts), spoken)


def _first_of_list(text: str) -> tuple[str, ...]:
    text = _plain(text)
    return () if re.search(r"[:;]", text) or "," not in text else _answers(_PARENTHESES.sub("", text.split(",")[0]))


def _location(text: str) -> tuple[str, ...]:
    match = re.match(r"([A-Z][\w -]{3,40}),", text)
    return () if not match or ":" in text else _answers(match[1])


def _holiday(text: str) -> tuple[str, ...]:
    match = re.fullmatch(rf"[^,;()]+(?: \([^()]*\))?, (\d{{1,2}} (?:{_MONTHS})) \(\d{{4}}\)", text)
    if not match:
        return ()
    day, month = match[1].split()
    return _answers(match[1], f"{month} {day}")


def _former(text: str) -> tuple[str, ...]:
    text = _plain(text)
    if re.search(r"[;:()/]", text) or text.count(",") > 2:
        return ()
    return _answers(text, *text.split(",")) if "," in text else _answers(text)


_NUMBER = r"\d[\d,.]*"
_COUNT = _matching(rf"({_NUMBER})(?: \([^()]*\))?")
_CODE = _matching(r"(\.[a-z]{2})")
_KM = _matching(r"([1-9][\d,.]* km)(?: \([^()]*\))?")
_SQ_KM = _matching(r"([1-9][\d,.]*(?: million)? sq km)(?: \([^()]*\))?")
_METRES = _matching(rf"(-?{_NUMBER} m)")
_YEARS = _matching(rf"({_NUMBER} years)")


# Name, field (with the parser's name), and at least three phrasings: questions as a person would ask them. They may use
# the plain words of a field ("lowest point"), because people do; they never repeat a field's path.
_TABLE = """
capital | capital | Government > Capital > name
  What is the capital of {c}? / What is the name of the capital of {c}? / Which city is the capital of {c}?
highest_point | place | Geography > Elevation > highest point
  What is the highest point in {c}? / What is the name of the highest point of {c}?
  Which elevation is the highest point in {c}?
lowest_point | place | Geography > Elevation > lowest point
  What is the lowest point in {c}? / Where is the lowest point of {c}? / What is the lowest point of elevation in {c}?
independence_date | independence_date | Government > Independence
  When did {c} gain independence? / On what date did {c} gain independence?
  What is the date of independence of {c}?
independence_from | independence_from | Government > Independence
  From which country did {c} gain independence? / What country did {c} win its independence from?
  From whom did {c} obtain its independence?
official_language | official_language | People and Society > Languages
  What are the official languages of {c}? / What official languages are there in {c}?
  Of the languages of {c}, what is official?
national_symbol | whole | Government > National symbol(s)
  What is the national symbol of {c}? / What serves as the national symbol of {c}?
  What animal, plant or thing is the national symbol of {c}?
national_colors | list | Government > National colors
  What are the national colors of {c}? / What colors are the national colors of {c}?
  By what national colors is {c} represented?
government_type | first_clause | Government > Government type
  What type of government does {c} have? / What is the government type of {c}?
  Which type of government rules {c}?
internet_code | code | Communications > Internet country code
  What is the internet country code of {c}? / Which internet country code belongs to {c}?
  Which country code do internet addresses of {c} end with?
currency | currency | Economy > Exchange rates > Currency
  What is the currency of {c}? / What is the name of the currency of {c}?
  In what currency do people in {c} pay?
legislature | legislature | Government > Legislative branch > legislature name
  What is the name of the legislature of {c}? / What is the legislature of {c} called?
  What name does the national legislature of {c} bear?
legislature_seats | count | Government > Legislative branch > number of seats
  How many seats does the legislative branch of {c} have? / What is the number of seats in the legislature of {c}?
  What number of seats does the legislature in {c} have?
anthem | title | Government > National anthem(s) > title
  What is the title of the national anthem of {c}? / What title does the national anthem of {c} bear?
  By what title is the national anthem of {c} known?
aircraft_prefix | whole | Transportation > Civil aircraft registration country code prefix
  What is the aircraft registration prefix of {c}? / Which registration prefix do civil aircraft from {c} carry?
  Which country code prefix marks aircraft registered in {c}?
location | location | Geography > Location
  What is the location of {c}? / What is the location of {c} on the globe?
  How to describe the location of {c}?
largest_ethnic_group | largest | People and Society > Ethnic groups
  Of the ethnic groups of {c}, what is the commonest? / What is the commonest of the ethnic groups in {c}?
  What ethnic groups are there in {c}, and what is the commonest?
main_religion | largest | People and Society > Religions
  Of the religions of {c}, what is the commonest? / What is the commonest of the religions in {c}?
  What religions are there in {c}, and what is the commonest?
area_comparison | comparison | Geography > Area - comparative
  What is the comparative area of {c}? / What is the area of {c} comparable to, in comparative terms?
  In comparative terms, what is the area of {c}?
total_area | sq_km | Geography > Area > total
  What is the total area of {c}? / How large is the total area of {c}?
  How many square kilometers is the total area of {c}?
climate | first_clause | Geography > Climate
  What is the climate of {c}? / What is the climate like in {c}?
  What kind of climate is there in {c}?
coastline | km | Geography > Coastline
  How long is the coastline of {c}? / What is the length of the coastline of {c}?
  How many kilometers of coastline does {c} have?
mean_elevation | metres | Geography > Elevation > mean elevation
  What is the mean elevation of {c}? / How high is the mean elevation of {c}? / Which mean elevation does {c} have?
land_boundary | km | Geography > Land boundaries > total
  What is the total length of the land boundaries of {c}? / How long are all land boundaries of {c} in total?
  How many kilometers do the land boundaries of {c} total?
irrigated_land | sq_km | Geography > Irrigated land
  How much irrigated land is there in {c}? / What is the area of irrigated land in {c}?
  How much land is irrigated in {c}?
legal_system | first_clause | Government > Legal system
  What legal system does {c} have? / What is the legal system of {c}? / Which kind of legal system is used in {c}?
nationality | demonym | People and Society > Nationality > adjective
  What is the nationality of a person from {c}? / What is the nationality of the people of {c}?
  What adjective describes the nationality of people from {c}?
airports | count | Transportation > Airports
  How many airports does {c} have? / How many airports are there in {c}? / What is the number of airports in {c}?
heritage_sites | count | Government > National heritage > total World Heritage Sites
  How many World Heritage Sites does {c} have? / How many World Heritage Sites are there in {c}?
  What is the total number of World Heritage Sites in {c}?
national_holiday | holiday | Government > National holiday
  When is the national holiday of {c}? / On what day is the national holiday of {c}?
  What is the date of the national holiday in {c}?
former_name | former | Government > Country name > former
  What was the former name of {c}? / What is the former name of the country {c}?
  By what former name was {c} known?
median_age | years | People and Society > Median age > total
  What is the median age in {c}? / What is the median age of the total population of {c}?
  How high is the median age in {c} in total?
export_partner | largest | Economy > Exports - partners
  What is the top partner of {c} for exports, of all partners?
  Of the partners for exports, what country buys the bulk from {c}?
  Of the partners of {c}, what country buys the biggest share of its exports?
top_export | first_of_list | Economy > Exports - commodities
  Of the commodities that {c} exports, what comes first?
  What is the first of the commodities among the exports of {c}?
  What leads the list of commodities for the exports of {c}?
"""

# Fields that may state the same answer; they count as evidence only where they do.
_ALSO = {
    "capital": ("People and Society > Major urban areas - population", "Government > Capital > etymology"),
    "climate": ("Environment > Climate",),
    "nationality": ("People and Society > Nationality > noun",),
    "independence_date": ("Government > National holiday",),
}
_PARSERS: dict[str, Parser] = {
    "capital": _capital,
    "code": _CODE,
    "comparison": _comparison,
    "count": _COUNT,
    "currency": _currency,
    "demonym": _demonym,
    "first_clause": _first_clause,
    "first_of_list": _first_of_list,
    "former": _former,
    "holiday": _holiday,
    "independence_date": _independence_date,
    "independence_from": _independence_from,
    "km": _KM,
    "largest": _largest,
    "legislature": _legislature,
    "list": _list,
    "location": _location,
    "metres": _METRES,
    "official_language": _official_language,
    "place": _place,
    "sq_km": _SQ_KM,
    "title": _title,
    "whole": _whole,
    "years": _YEARS,
}


def _kinds() -> dict[str, Kind]:
    found: dict[str, Kind] = {}
    for block in re.split(r"\n(?=\S)", _TABLE.strip()):
        head, *lines = block.split("\n")
        name, parser, path = (part.strip() for part in head.split("|"))
        phrasings = tuple(text.strip() for line in lines for text in line.split(" / "))
        found[name] = Kind(name, path, phrasings, _PARSERS[parser], _ALSO.get(name, ()))
    return found


KINDS = _kinds()
