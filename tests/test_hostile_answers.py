"""Answers that are out to break something: every metric and classifier judges each of them, quickly and with a reason
where there is no value, and nothing in them steers a terminal or breaks a page, a table or a file."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import taxonomy
from harness.analysis.errors import typical
from harness.cli import cli, main
from harness.config import Use, load_experiment
from harness.exceptions import DataError
from harness.plugins import Registry
from harness.report.text import hidden
from harness.runner.evaluate import Evaluator
from harness.runner.rescore import StoredCriteria
from harness.store import NewRun, NewTrial, open_store
from harness.tables import GenerationTable
from harness.tasks.task import Task, load_task
from harness.types import Example, Passage, Prediction, Query
from harness_plugins.tasks.files import Jsonl

LONG = 100_000
SETTINGS: dict[str, dict[str, Any]] = {
    "regex": {"pattern": r"(\d+)"},
    "contains_text": {"texts": ["w"]},
    "json_schema": {"schema": {"type": "object", "required": ["a"]}},
    "pattern": {"name": "own", "pattern": "a"},
}
OWN_FILE = "python"  # wants a file of the user's own: see test_criteria
LABELS = ("Refund", "refund", " refund", "re fund", "re  fund", "\ud800")
PIECES = (
    "Paris", "paris ", " Refund", "the", "a", "12", "1,234", "-", "\n", "\t", "\r\n", " ", ".", "?!",
    "\x00", "\x07", "\x1b", "\x1b[31m", "\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://evil.example\x1b\\", "\x9b31m",
    "\u202e", "\u2066", "\u200b", "\u2028", "\ufeff", "\ud800", "\udc00", "مرحبا", "שלום", "你好", "สวัสดี", "e\u0301",
    "🙂", "👨\u200d👩\u200d👧", "ﷺ", "İ", "½", "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>",
    "| a | b |", "[x](javascript:alert(1))", "`", "**", "=1+1", "@SUM(A1)", '"', "{", "[", "NaN", "1e999", "\\",
)  # fmt: skip
TEXTS = ("", " ", *PIECES, "".join(PIECES), " ".join(reversed(PIECES)))
REFERENCES: tuple[tuple[str, ...], ...] = ((), ("",), (" ", "Paris"), ("refund",), ("Paris, Rome and Bonn", "12 km"))
UNITS = ("Y", "the word ", "\n", "1. x\n", "\x1b]", "[", "1,", "🙂", "\u202e", "\ud800", "你", "İ", "'", "i'm sorry ",
         "#### ")  # fmt: skip
# What a terminal obeys, turns the direction of a line, or cannot be encoded; line ends and tabs are fine.
UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def task(example: Example, labels: tuple[str, ...] = ()) -> Task:
    readout = "choose" if labels else "generate"
    return Task((), (), (example,), (), labels, readout, {}, {example.id: "Which town?"}, {})


@pytest.fixture(scope="module")
def criteria(registry: Registry) -> StoredCriteria:
    """Every registered metric and classifier."""
    metrics, classifiers = (
        tuple(Use(name, name, SETTINGS.get(name, {})) for name in registry.names(kind) if name != OWN_FILE)
        for kind in ("metric", "error classifier")
    )
    assert len(metrics) > 20 and len(classifiers) > 4
    return StoredCriteria(metrics, classifiers, GenerationTable())


@pytest.fixture(scope="module")
def judge(registry: Registry, criteria: StoredCriteria) -> Any:
    """Judges an answer by everything, as a run does; gives the categories."""
    evaluators: dict[Any, Evaluator] = {}

    def judged(prediction: Prediction, references: tuple[str, ...], labels: tuple[str, ...] = ()) -> set[str]:
        example = Example(Query(prediction.item_id, {}), references)
        key = (references, labels)
        evaluator = evaluators.get(key) or Evaluator(criteria, task(example, labels), registry)
        evaluators[key] = evaluator
        scores: dict[str, Mapping[str, Any]] = {}
        for one in evaluator.metrics:
            (record,) = evaluator.score([prediction], one).values()
            check_record(one, record)
            scores[one.id] = {example.id: record}
        found = [label for one in evaluator.classifiers
                 for label in evaluator.classify([prediction], one, scores)[example.id]]  # fmt: skip
        known = {*taxonomy.ORDER, "own"}
        assert all(label.category in known and 0 < len(label.evidence) <= 1000 for label in found)
        names = {label.category for label in found}
        assert names - {"own", "misspelled", "wrong_language"}, "surface has something to say of every answer"
        return names

    return judged


def check_record(judge: Any, record: Mapping[str, Any]) -> None:
    """A value or a reason, and an aggregate within the metric's range."""
    json.dumps(record, allow_nan=False)
    if judge.spec.mean:
        assert record["value"] is not None or record["reason"]
    total = judge.plugin.aggregate([record])
    assert total is None or (math.isfinite(total) and judge.spec.low - 1e-9 <= total <= judge.spec.high + 1e-9)
    assert total is not None or record.get("reason") or not judge.spec.mean


def answered(text: str, *, finish: Any = "stop", prompt: str = "prompt", passages: tuple[Passage, ...] = ()) -> Any:
    scores = {"Refund": -1.0, "refund": -2.0}
    return Prediction("1", prompt, text, text, finish, 10, 10, passages=passages, label_scores=scores)


@pytest.mark.parametrize("labels", [(), LABELS], ids=["free", "labels"])
@pytest.mark.parametrize("references", REFERENCES, ids=repr)
def test_every_judge_takes_every_hostile_text(judge: Any, references: tuple[str, ...], labels: tuple[str, ...]) -> None:
    for text in TEXTS:
        names = judge(answered(text), references, labels)
        assert ("no_reference" in names) == (not references)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_every_judge_takes_what_hypothesis_makes_up(judge: Any, data: Any) -> None:
    text = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=12).map("".join)
    passages = (Passage("d", data.draw(text), data.draw(text), 1.0, 1),)
    made = answered(
        data.draw(text),
        finish=data.draw(st.sampled_from(["stop", "length", "choice", "overflow"])),
        prompt=data.draw(text),
        passages=passages,
    )
    references = tuple(data.draw(st.lists(text, max_size=3)))
    labels = data.draw(st.sampled_from([(), LABELS]) | st.lists(text, min_size=2, max_size=4, unique=True).map(tuple))
    judge(made, references, labels)


@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_no_judge_takes_long_over_100_000_characters(registry: Registry, criteria: StoredCriteria, unit: str) -> None:
    """The worst of these takes about 0.1 s; the limit is generous, because machines are shared."""
    text = (unit * LONG)[:LONG]
    passages = (Passage("d", "t", text, 1.0, 1),)
    example = Example(Query("1", {}), ("Paris", text[:-1]))
    for labels in ((), LABELS):
        evaluator = Evaluator(criteria, task(example, labels), registry)
        if not labels:
            evaluator.score([answered("warm")], evaluator.metrics[0])
        made = [answered(text, finish="length", prompt=text, passages=passages)]
        for call, judges in ((evaluator.score, evaluator.metrics), (evaluator.classify, evaluator.classifiers)):
            for one in judges:
                started = time.process_time()
                assert len(call(made, one) if call == evaluator.score else evaluator.classify(made, one, {})) == 1
                assert time.process_time() - started < 20, one.id  # what is quadratic takes minutes


def test_typical_answers_of_a_category_are_found_quickly_among_long_ones() -> None:
    texts = {str(n): " ".join(f"word{(n * 7 + i) % 30_000}" for i in range(10_000)) for n in range(200)}
    started = time.process_time()
    assert len(typical(texts, 5)) == 5
    assert time.process_time() - started < 10


# ------------------------------------------------------------------------------------------- stored and read back

BAD_NAME = "\x1b[31m\x07\u202e|<b>"  # click drops the first of it where there is no terminal
ARMS = ("plain", f"arm{BAD_NAME}")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose inputs, gold, groups, prompts, passages and answers are hostile, judged by `harness rescore`."""
    path = tmp_path_factory.mktemp("hostile") / "harness.db"
    texts = [*TEXTS, ("\x1b[31m" * LONG)[:LONG], ("word " * LONG)[:LONG]]
    with open_store(path) as store:
        names = ["i3" + BAD_NAME if n == 3 else f"i{n}" for n in range(len(texts))]
        items = [
            Example(Query(name, {"question": text}, f"g{n % 3}{text[:20]}"), (text,))
            for n, (name, text) in enumerate(zip(names, texts, strict=True))
        ]
        store.save_items("data", "csv", {"test": items}, {item.id: item.query.fields["question"] for item in items})
        config = {"task": {"metrics": [{"use": name, "id": name, "settings": {}} for name in ("token_f1", "contains")]}}
        run = store.begin_run(NewRun("k", "n\x1b[31m", "data", "plain", "token_f1", ARMS, config_resolved=config))
        for index, arm in enumerate(ARMS):
            trial = store.begin_trial(NewTrial(f"p{index}", f"a{index}", arm, 0))
            store.link_trial(run, trial, arm, index, 0)
            made = [answer_to(item, texts[(n + index) % len(texts)]) for n, item in enumerate(items)]
            store.add_predictions(trial, made)
            store.finish_trial(trial, "done")
        store.finish_run(run, "done")
    call(path, "rescore", "--metric", "rouge_l", "--metric", "chrf", "--metric", "numeric", "--metric", "macro_f1")
    return path


def answer_to(item: Example, text: str) -> Prediction:
    passages = (Passage(f"d{text[:9]}", text[:99], text, 1.0, 1),)
    return Prediction(item.id, f"Q {text}", f" {text}", text, "stop", 9, 9, passages=passages)


def call(results: Path, *arguments: str, terminal: bool = False) -> str:
    """What a verb prints, colours and all; `terminal`: as if to one."""
    environment = {"FORCE_COLOR": "1", "COLUMNS": "100"} if terminal else {"FORCE_COLOR": None, "NO_COLOR": "1"}
    found = CliRunner(env=environment).invoke(
        cli, [*arguments, "--results", str(results)], standalone_mode=False, color=True
    )
    assert found.exception is None, found.exception
    shown = found.output
    if terminal:  # colours of our own are fine; that none is the data's shows where there are none of ours
        assert "\x1b[" in shown
        shown = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert not (bad := UNSAFE.search(shown)), (arguments, shown[max(0, bad.start() - 40) : bad.end() + 40])
    return found.output


def test_no_answer_is_dropped(results: Path) -> None:
    with sqlite3.connect(results) as db:
        (answers,) = db.execute("SELECT count(*) FROM predictions").fetchone()
        scored = dict(db.execute("SELECT metric, count(*) FROM scores GROUP BY metric").fetchall())
        silent = "SELECT count(*) FROM scores WHERE value IS NULL AND coalesce(record, '') NOT LIKE '%:%'"
        judged = "SELECT classifier, count(DISTINCT trial_id || '/' || item_id) FROM error_labels GROUP BY classifier"
        labelled = dict(db.execute(judged).fetchall())
        assert db.execute(silent).fetchone() == (0,)
    assert answers == 2 * (len(TEXTS) + 2)
    assert scored == dict.fromkeys(("token_f1", "contains", "rouge_l", "chrf", "numeric", "macro_f1"), answers)
    assert labelled == dict.fromkeys(("surface", "grounding", "spelling", "language"), answers)


@pytest.mark.parametrize("terminal", [False, True])
def test_errors_and_show_are_safe_on_a_terminal(results: Path, terminal: bool) -> None:
    report = json.loads(call(results, "errors", "--json"))
    for arguments in ([], ["--arm", ARMS[1]], ["--by", "gold", "--by", "group", "--by", "question", "--by", "length"]):
        call(results, "errors", *arguments, terminal=terminal)
    categories = {count["category"] for counts in report["counts"].values() for count in counts}
    assert {"wrong_answer", "correct", "empty"} <= categories
    for category in categories:
        call(results, "errors", "--category", category, terminal=terminal)
    for item in ("i0", f"i3{BAD_NAME}", *(f"i{n}" for n in range(10, len(TEXTS) + 2, 9)), f"i{len(TEXTS) - 1}"):
        shown = call(results, "show", ARMS[1], item, terminal=terminal)
        assert "Prompt as sent" in shown
    assert "control characters are not shown" in shown


@pytest.mark.parametrize("terminal", [False, True])
def test_the_report_is_safe_on_a_terminal(results: Path, terminal: bool) -> None:
    assert "token_f1" in call(results, "report", terminal=terminal)


def test_the_report_is_whole_in_every_form(results: Path) -> None:
    markdown = call(results, "report", "--format", "markdown")
    tables = re.findall(r"(?:^\|.*\|\n)+", markdown, re.M)
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    assert tables and "<b>" not in markdown.replace("\\<b\\>", "")
    page = call(results, "report", "--format", "html")
    assert page.count("<script") == page.count("</script>") and "<img src=x" not in page
    rows = list(csv.DictReader(io.StringIO(call(results, "report", "--format", "csv"))))
    assert [row["arm"] for row in rows] == ["plain", "arm|<b>"] and all(None not in row.values() for row in rows)
    whole = json.loads(call(results, "report", "--format", "json"))
    assert [arm["name"] for arm in whole["arms"]] == list(ARMS)


# ------------------------------------------------------------------------------- what else reaches the terminal


def test_errors_that_quote_stored_names_are_safe(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["harness", "errors", "--arm", "arm|<b", "--results", str(results)])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "arm|<b>" in said and not UNSAFE.search(said)


def test_what_is_left_out_is_told() -> None:
    assert hidden("a\r\nb\tc") == "" and hidden("\x1b[31mred") == "5 control characters are not shown"


def test_half_a_character_in_a_data_file_is_read_and_told(tmp_path: Path) -> None:
    rows = [{"question": "half \ud83d, whole 🙂", "answer": "\udc00x"}, {"question": "q", "answer": "\\ud83d"}]
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = Jsonl(Jsonl.Config(test="test.jsonl")).load(str(tmp_path))
    first, second = found.splits["test"]
    assert (first.query.fields["question"], first.references) == ("half \ufffd, whole 🙂", ("\ufffdx",))
    assert second.references == ("\\ud83d",)
    assert found.notes == ("test.jsonl: 1 line(s) with half a character (a lone surrogate), read as U+FFFD.",)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}"])
def test_json_that_python_refuses_is_a_problem_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "test.jsonl").write_text('{"question": "q", "answer": "a"}\n' + line)
    with pytest.raises(DataError, match=r"test\.jsonl, line 2: cannot be read as JSON"):
        Jsonl(Jsonl.Config(test="test.jsonl")).load(str(tmp_path))


def test_a_loader_that_gives_half_a_character_is_named(
    write: Any, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness_plugins.tasks.files._whole", lambda value: value)
    write("test.jsonl", json.dumps({"question": "half \ud83d", "answer": "a"}))
    toml = """
        [experiment]
        name = "demo"
        [model]
        ref = "smollm2-135m-instruct"
        [task]
        loader = "jsonl"
        test = "test.jsonl"
        input = "{question}"
        target = "{answer}"
        [[arm]]
        name = "zero"
        strategies = ["prompt"]
    """
    with pytest.raises(DataError, match=r"task loader 'jsonl' .* gave half a character .*'\\ud83d'"):
        load_task(load_experiment(write("e.toml", toml), registry), registry)
