"""Tiny tasks: small enough to read, with all that a plugin can get wrong (twins, groups, documents with answers).

Every test question carries a mark that occurs nowhere else, so that a leak can be seen.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.tasks.split import exclusions
from harness.types import Document, Example, Query

_CAPITALS = {
    "Peru": "Lima",
    "Kenya": "Nairobi",
    "Norway": "Oslo",
    "Japan": "Tokyo",
    "Cuba": "Havana",
    "Ghana": "Accra",
    "Chile": "Santiago",
    "Nepal": "Kathmandu",
    "Egypt": "Cairo",
    "Spain": "Madrid",
    "Samoa": "Apia",
    "Qatar": "Doha",
}
_MESSAGES = (
    ("I was charged twice for one order", "billing"),
    ("The parcel never arrived", "shipping"),
    ("My invoice shows the wrong amount", "billing"),
    ("The courier left it at the wrong door", "shipping"),
    ("Please explain this fee on my card", "billing"),
    ("Tracking has not moved for a week", "shipping"),
    ("You took the payment but cancelled the order", "billing"),
    ("Can it be delivered on Saturday?", "shipping"),
    ("Why did my price go up this month?", "billing"),
    ("The box was open when it came", "shipping"),
    ("I want my money back for last month", "billing"),
    ("It was sent to my old address", "shipping"),
)


@dataclass(frozen=True)
class TinyTask:
    """Splits and corpus as a trial has them; `test` holds gold, which only metrics and classifiers may see."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    corpus: tuple[Document, ...]
    labels: tuple[str, ...] = ()
    readout: str = "generate"
    input: str = "{question}"
    instruction: str = "Answer in one word."
    exclusions: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def inputs(self) -> dict[str, str]:
        everything = (*self.train, *self.validation, *self.test)
        return {example.id: self.input.format(**example.query.fields) for example in everything}


def mark(item: str) -> str:
    """The word that stands in that test item's question and nowhere else."""
    return f"mark{item}"


def _task(pairs: list[tuple[str, str]], documents: list[str], **settings: object) -> TinyTask:
    def example(name: str, number: int, marked: bool = False) -> Example:
        text, answer = pairs[number]
        question = f"{text} ({mark(f'{name}{number}')})" if marked else text
        return Example(Query(f"{name}{number}", {"question": question}), (answer,))

    train = [example("train", number) for number in range(6)]
    # A twin under another id, and a group of two: neither may be shown to the other.
    train.append(Example(Query("twin0", dict(train[0].query.fields)), train[0].references))
    train[1:3] = [Example(Query(e.id, dict(e.query.fields), group="g"), e.references) for e in train[1:3]]
    validation = [example("validation", number) for number in (6, 7)]
    test = [example("test", number, marked=True) for number in range(8, 12)]
    corpus = []
    for number, text in enumerate(documents):
        states = [e.id for e in (*train, *validation) if e.query.fields["question"] == pairs[number][0]]
        corpus.append(Document(f"doc{number}", text, title=f"Page {number}", examples=tuple(states)))
    left_out = exclusions((*train, *validation))
    return TinyTask(tuple(train), tuple(validation), tuple(test), tuple(corpus), exclusions=left_out, **settings)  # type: ignore[arg-type]


def tiny_questions() -> TinyTask:
    """Twelve questions about capitals with one document each; answers are texts."""
    pairs = [(f"What is the capital of {country}?", city) for country, city in _CAPITALS.items()]
    documents = [f"What is the capital of {country}? The capital is {city}." for country, city in _CAPITALS.items()]
    return _task(pairs, documents)


def tiny_labels() -> TinyTask:
    """Twelve messages with one of two labels; the answer is chosen."""
    documents = [f"Note {number}: {text}. This is about {label}." for number, (text, label) in enumerate(_MESSAGES)]
    return _task(
        list(_MESSAGES),
        documents,
        labels=("billing", "shipping"),
        readout="choose",
        instruction="Is this about {labels}?",
    )


def write_tiny_files(folder: Path) -> None:
    """The questions as tiny.csv and tiny.jsonl, with the columns `question` and `answer`."""
    task = tiny_questions()
    rows = [
        {"question": example.query.fields["question"], "answer": example.references[0]}
        for example in (*task.train[:6], *task.validation, *task.test)
    ]
    with (folder / "tiny.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    lines = [json.dumps(row) for row in rows]
    (folder / "tiny.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
