"""Your own files as a task: what is read, and what a mistake in them is answered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness.exceptions import DataError
from harness.types import LoadedData
from harness_plugins.tasks.files import Csv, Jsonl

Write = Callable[[str, str], Path]


def jsonl(**settings: Any) -> LoadedData:
    return Jsonl(Jsonl.Config(**settings)).load(".")


def from_csv(**settings: Any) -> LoadedData:
    return Csv(Csv.Config(**settings)).load(".")


def complaint(load: Callable[..., LoadedData], **settings: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(**settings)
    assert caught.value.hint
    return str(caught.value)


def test_gold_never_reaches_the_fields(write: Write) -> None:
    row = {"q": "Who?", "first": "Ada", "last": "L.", "more": ["Ada", "A. L."], "docs": ["d1"], "n": 3, "none": None}
    write("test.jsonl", json.dumps(row) + "\n\n")
    data = jsonl(test="test.jsonl", target="{first} {last}", references="more", evidence="docs")
    (example,) = data.splits["test"]
    assert example.query.fields == {"q": "Who?", "n": "3", "none": ""}
    assert example.references == ("Ada L.", "Ada", "A. L.")
    assert example.evidence == ("d1",)
    assert example.id == "test-1"
    assert data.pool == () and data.splits["train"] == ()


def test_csv_with_quotes_groups_and_separators(write: Write) -> None:
    write("d.csv", '\ufeffid;question;answer;other;team\n7;"a; ""b""\nc";x;y|z;red\n8;d;x;;blue\n')
    data = from_csv(data="d.csv", id="id", group="team", references="other", references_separator="|", delimiter=";")
    first, second = data.pool
    assert first.query.fields == {"id": "7", "question": 'a; "b"\nc', "team": "red"}
    assert (first.id, first.query.group, first.references) == ("7", "red", ("x", "y", "z"))
    assert second.references == ("x",)
    assert not data.splits


def test_a_split_column_fills_the_splits(write: Write) -> None:
    write("d.csv", "q,answer,part\na,1,train\nb,2,Dev\nc,3,test\n")
    data = from_csv(data="d.csv", split_column="part")
    assert {name: [e.id for e in examples] for name, examples in data.splits.items()} == {
        "train": ["1"],
        "validation": ["2"],
        "test": ["3"],
    }
    assert data.splits["test"][0].query.fields == {"q": "c"}
    write("bad.csv", "q,answer,part\na,1,trian\n")
    assert "bad.csv, line 2: column 'part' says 'trian'" in complaint(from_csv, data="bad.csv", split_column="part")


def test_answers_may_all_be_in_the_references_column(write: Write) -> None:
    write("t.jsonl", '{"q": "a", "answers": ["x", "y"]}\n')
    (example,) = jsonl(test="t.jsonl", references="answers").splits["test"]
    assert example.references == ("x", "y") and example.query.fields == {"q": "a"}


def test_all_problems_of_all_files_are_reported_together(write: Write) -> None:
    write(
        "train.jsonl",
        '{"q": "a", "answer": "x"}\n{"q": "b" "answer": "x"}\n[1]\n{"q": "c"}\n{"q": "d", "answer": " "}\n',
    )
    write("questions.jsonl", '{"q": "a", "answer": "x"}\n')
    found = complaint(jsonl, train="train.jsonl", test="question.jsonl", corpus="docs/*.md")
    for wanted in (
        "6 problems",
        "train.jsonl, line 2: not valid JSON",
        "train.jsonl, line 3: each line must be an object",
        "train.jsonl, line 4: has no 'answer'",
        "train.jsonl, line 5: has no answer: 'answer' is empty",
        "question.jsonl: file not found. Did you mean 'questions.jsonl'?",
        "docs/*.md: no file matches",
    ):
        assert wanted in found, found


@pytest.mark.parametrize(
    ("text", "settings", "wanted"),
    [
        ("q,answr\na,b\n", {}, "no column 'answer' (target). Did you mean 'answr'?"),
        ("q,answer\na,b\n", {"group": "teem"}, "no column 'teem' (group). There are: q, answer."),
        ("q,answer\na,b\n\nc,d,e\nf\n", {}, "d.csv, line 4: 3 cells, but the header has 2"),
        ("q,answer\na,b\n\nc,d,e\nf\n", {}, "d.csv, line 5: 1 cells"),
        ('q,answer\n"a\nb",c\nd\n', {}, "d.csv, line 4: 1 cells"),
        ('q,answer\n"a,b\n', {}, "d.csv, line 2: not valid CSV"),
        ("q,q,answer\na,b,c\n", {}, "line 1: column 'q' stands twice"),
        ("q,answer\n", {}, "has a header but no rows"),
        ("  \n", {}, "d.csv: is empty"),
        ("id,q,answer\n1,a,b\n2,c,d\n1,e,f\n", {"id": "id"}, "line 4: id '1' was used before (d.csv, line 2)"),
    ],
)
def test_mistakes_in_csv(write: Write, text: str, settings: dict[str, str], wanted: str) -> None:
    write("d.csv", text)
    assert wanted in complaint(from_csv, data="d.csv", **settings)


def test_encoding(folder: Path) -> None:
    (folder / "d.csv").write_bytes("q,answer\na,b\nCafé,x\n".encode("latin-1"))
    found = complaint(from_csv, data="d.csv")
    assert "d.csv, line 3: not utf-8: byte 0xe9" in found and 'encoding = "latin-1"' in found
    assert from_csv(data="d.csv", encoding="latin-1").pool[1].query.fields == {"q": "Café"}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, "name a test file, or one data file"),
        ({"data": "a", "test": "b"}, "cannot stand beside test"),
        ({"test": "b", "split_column": "c"}, "belongs to a single data file"),
        ({"data": "a", "encoding": "utf-9"}, "unknown encoding"),
        ({"data": "a", "colour": "b"}, "Extra inputs"),
    ],
)
def test_settings_are_checked(settings: dict[str, str], wanted: str) -> None:
    with pytest.raises(ValidationError, match=wanted):
        Csv.Config(**settings)


def test_text_files_become_passages(write: Write) -> None:
    write("t.jsonl", '{"q": "a", "answer": "x"}\n')
    long = " ".join(f"w{i}" for i in range(100))
    write(
        "docs/guide.md", f"Intro.\n\n# Set up\n\nOne two.\n\nThree.\n\n```\n# no heading\n```\n\n## Use ##\n\n{long}\n"
    )
    write("docs/note.txt", "# plain text\n\nbody\n")
    write("rows.jsonl", '{"id": "r", "title": "T", "text": "whole"}\n{"text": "unnamed"}\n')
    corpus = jsonl(test="t.jsonl", corpus=["docs/*", "rows.jsonl"], chunk_words=40).corpus
    assert [(d.id, d.title) for d in corpus] == [
        ("docs/guide.md#1", "guide.md"),
        ("docs/guide.md#2", "guide.md — Set up"),
        ("docs/guide.md#3", "guide.md — Use"),
        ("docs/guide.md#4", "guide.md — Use"),
        ("docs/guide.md#5", "guide.md — Use"),
        ("docs/note.txt#1", "note.txt"),
        ("r", "T"),
        ("rows.jsonl#2", ""),
    ]
    texts = [document.text for document in corpus]
    assert texts[1] == "One two.\n\nThree.\n\n```\n# no heading\n```"
    assert " ".join(texts[2:5]) == long and max(len(text.split()) for text in texts) <= 40
    assert texts[5:] == ["# plain text\n\nbody", "whole", "unnamed"]


def test_corpus_mistakes(write: Write) -> None:
    write("t.jsonl", '{"q": "a", "answer": "x"}\n')
    write("c/a.jsonl", '{"id": "1", "text": "x"}\n{"id": "1", "text": "y"}\n{"id": "2", "txt": "y"}\n')
    write("c/b.pdf", "x")
    found = complaint(jsonl, test="t.jsonl", corpus="c/*")
    assert "c/a.jsonl, line 2: document id '1' was used before" in found
    assert "c/a.jsonl, line 3: a document needs a 'text'. Did you mean 'txt'?" in found
    assert "c/b.pdf: a corpus file must be .md, .txt or .jsonl" in found


def test_many_problems_are_cut(write: Write) -> None:
    write("t.jsonl", "{\n" * 50)
    found = complaint(jsonl, test="t.jsonl")
    assert "50 problems" in found and "… and 30 more" in found
