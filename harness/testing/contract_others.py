"""What every task loader, model and observer promises."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import get_args

from harness.events import Event, EventKind
from harness.exceptions import DataError, ModelError
from harness.guard import untouched
from harness.models.source import ModelSource
from harness.testing.promise import NotApplicable, Subject, promise, require
from harness.testing.tiny import write_tiny_files
from harness.types import Document, Example, LoadedData


def load(subject: Subject) -> LoadedData:
    """The loader's data from a folder with tiny.csv and tiny.jsonl."""
    write_tiny_files(Path())
    try:
        data: LoadedData = subject.create().load(str(Path().resolve()))
    except DataError as error:
        raise NotApplicable(f"it needs settings to load something: {error.message}") from None
    return data


@promise("task loader")
def returns_data(subject: Subject) -> None:
    """It returns LoadedData with examples, in a pool or in named splits, and documents as the corpus."""
    data = load(subject)
    require(isinstance(data, LoadedData), f"returns {type(data).__name__}, not LoadedData.")
    examples = [*data.pool, *(example for split in data.splits.values() for example in split)]
    require(bool(examples), "returns no examples.")
    require(all(isinstance(example, Example) for example in examples), "returns examples that are not Example.")
    require(all(isinstance(document, Document) for document in data.corpus), "returns documents that are not Document.")
    stray = set(data.splits) - {"train", "validation", "test"}
    require(not stray, f"names splits that do not exist: {', '.join(sorted(stray))}.")


@promise("task loader")
def ids_unique(subject: Subject) -> None:
    """Every example and every document has an id of its own; fields and answers are texts."""
    data = load(subject)
    examples = [*data.pool, *(example for split in data.splits.values() for example in split)]
    for what, ids in (("examples", [e.id for e in examples]), ("documents", [d.id for d in data.corpus])):
        require(len(set(ids)) == len(ids), f"gives several {what} one id.")
    for example in examples:
        texts = [*example.query.fields.values(), *example.references]
        require(bool(example.references), f"gives '{example.id}' no reference.")
        require(all(isinstance(text, str) for text in texts), f"gives '{example.id}' values that are not texts.")


@promise("task loader")
def deterministic(subject: Subject) -> None:
    """Loading twice gives the same data in the same order."""
    require(load(subject) == load(subject), "loads other data the second time.")


@promise("model")
def found_or_explained(subject: Subject) -> None:
    """It returns a ModelSource with files and a digest, twice the same, or raises ModelError."""
    try:
        first, second = subject.entry.target(), subject.entry.target()
    except ModelError as error:
        raise NotApplicable(error.message) from None
    require(isinstance(first, ModelSource), f"returns {type(first).__name__}, not ModelSource.")
    require(first == second, "describes its files differently the second time.")
    require(Path(first.folder).is_dir() and bool(first.digest), "names no files or no digest.")


@promise("observer")
def takes_every_event(subject: Subject) -> None:
    """It takes every kind of event, also with facts it does not know, and changes none of them."""
    observer = subject.create()
    for number, kind in enumerate(get_args(EventKind)):
        for arm in (None, "zero-shot"):
            event = Event(kind, "run-1", 1e9 + number, arm=arm, seed=0 if arm else None, data={"something_new": [1]})
            before = asdict(event)
            with untouched("", "observing", event=event):
                observer.observe(event)
            require(asdict(event) == before, f"changes the event {kind}.")
