"""Error analysis and re-scoring: categories by arm and slice, what changed, typical answers; no model anywhere."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.errors import Answer, Item, category_counts, slices, transition, typical
from harness.analysis.intervals import wilson
from harness.cli import cli
from harness.plugins import Registry
from harness.runner.evaluate import judges
from harness.runner.rescore import rescore
from harness.store import NewRun, NewTrial, Store, open_store
from harness.store.rescoring import has_vocabulary, load_vocabulary, save_vocabulary
from harness.types import ErrorLabel, Example, Prediction, Query

Write = Callable[[str, str], Path]


def answer(primary: str, *others: str, text: str = "") -> Answer:
    return Answer(text, primary, tuple(ErrorLabel(name, f"saw {name}") for name in (primary, *others)))


# ------------------------------------------------------------------------------------------------- pure functions


def test_counts_are_of_primary_categories_with_their_interval() -> None:
    found = category_counts([answer("correct"), answer("correct", "verbose"), answer("empty"), answer("correct")])
    assert [(count.category, count.count, count.any) for count in found] == [
        ("correct", 3, 3),
        ("empty", 1, 1),
        ("verbose", 0, 1),
    ]
    assert (found[0].share.value, found[0].share.low, found[0].share.high) == (0.75, *wilson(0.75, 4))
    assert category_counts([]) == []


def test_transitions_go_item_by_item() -> None:
    before = {"a": "correct", "b": "empty", "c": "numeric", "d": "correct", "x": "empty"}
    after = {"a": "correct", "b": "correct", "c": "verbose", "d": "refusal", "y": "empty"}
    base, arm = ({item: answer(name) for item, name in names.items()} for names in (before, after))
    moves = transition(base, arm)
    assert (moves.fixed, moves.broke, moves.both_right, moves.both_wrong) == (("b",), ("d",), 1, 1)
    assert moves.matrix[("empty", "correct")] == 1 and sum(moves.matrix.values()) == 4


@given(st.lists(st.sampled_from(["correct", "empty", "numeric"]), min_size=1))
def test_every_item_is_counted_once(names: list[str]) -> None:
    base = {str(place): answer(name) for place, name in enumerate(names)}
    arm = {item: answer(names[-1 - place]) for place, item in enumerate(base)}
    moves = transition(base, arm)
    assert len(moves.fixed) + len(moves.broke) + moves.both_right + moves.both_wrong == len(names)
    counts = category_counts(base.values())
    assert sum(count.count for count in counts) == len(names)
    assert all(count.share.low <= count.share.value <= count.share.high for count in counts)  # type: ignore[operator]


def test_slices() -> None:
    items = [Item(str(n), "word " * n, (f"g{n % 2}",), {"country": f"c{n % 20}"}, None) for n in range(60)]
    assert {value: len(ids) for value, ids in slices("gold", items).items()} == {"g0": 30, "g1": 30}
    countries = slices("country", items)
    assert len(countries) == 12 and len(countries["(others)"]) == 27
    assert {value: len(ids) for value, ids in slices("length", items).items()} == {
        "up to 20 words": 21,
        "21 to 40 words": 20,
        "over 40 words": 19,
    }
    assert slices("group", items) == {"(none)": [item.id for item in items]}
    for by in ("gold", "country", "length", "group"):
        assert sorted(name for ids in slices(by, items).values() for name in ids) == sorted(i.id for i in items)
    assert slices("length", []) == {} and list(slices("length", [Item("1"), Item("2")])) == ["up to 0 words"]


def test_typical_texts_are_those_most_like_the_others_and_each_is_said_once() -> None:
    texts = {"odd": "zebra", "a": "the king of france", "b": "the king of spain", "c": "the king of france"}
    assert typical(texts, 2) == ["a", "b"]
    assert typical(texts, 9) == ["a", "b", "odd", "c"]
    assert typical({}, 3) == []
    assert len(typical({str(n): f"text {n}" for n in range(1000)}, 5)) == 5


# ------------------------------------------------------------------------------------------------------ by command


ANSWERS = {
    "zero": ["Paris", "I do not know.", "Berlin", "The peple live in Rome, of course, where else could they live."],
    "rag": ["Paris", "Lima", "perhaps Paris", "Oslo"],
}
GOLD = ["Paris", "Lima", "Rome", "Oslo"]


@pytest.fixture
def results(tmp_path: Path, registry: Registry) -> Path:
    """A run of two arms over four items, as an earlier version would have stored it."""
    path = tmp_path / "h.db"
    with open_store(path) as store:
        test = [
            Example(Query(f"q{n}", {"question": f"what {n}?", "country": f"c{n % 2}"}), (gold,))
            for n, gold in enumerate(GOLD)
        ]
        store.save_items("task", "csv", {"test": test}, {f"q{n}": f"what {n}?" for n in range(4)})
        metric = {"use": "exact_match", "id": "exact_match", "settings": {}}
        config = {"task": {"metrics": [metric]}, "slices": {"by": ["country"]}, "generation": {"max_new_tokens": 8}}
        run = store.begin_run(
            NewRun(
                "k", "capitals", "task", "zero", "exact_match", ["zero", "rag"],
                config_resolved=config, task={"labels": [], "readout": "generate"},
                score_versions={"metrics": {"exact_match": "old"}, "classifiers": {"surface": "old"}},
            )
        )  # fmt: skip
        for index, (arm, texts) in enumerate(ANSWERS.items()):
            trial = store.begin_trial(NewTrial(f"p-{arm}", f"a-{arm}", arm, 0))
            store.link_trial(run, trial, arm, index, 0)
            made = [Prediction(f"q{n}", f"prompt {n}", text, text, "stop", 5, 2) for n, text in enumerate(texts)]
            store.add_predictions(trial, made)
            store.add_scores(trial, "exact_match", "old", {p.item_id: {"value": 0.25} for p in made})
            labels = {p.item_id: [ErrorLabel("wrong_answer", "as before")] for p in made}
            store.add_error_labels(trial, "surface", "old", labels)
            store.finish_trial(trial, "done")
        store.finish_run(run, "done")
    return path


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(part) for part in arguments], standalone_mode=False)


def output(*arguments: str | Path) -> str:
    result = call(*arguments)
    assert result.exception is None, result.exception
    return result.output


def test_rescore_judges_anew_and_keeps_what_was(results: Path, registry: Registry) -> None:
    said = output("rescore", "--results", results, "--metric", "contains")
    assert "metric exact_match: 8 answers judged" in said and "metric contains: 8 answers judged" in said
    assert "classifier spelling: 8 answers judged" in said
    with sqlite3.connect(results) as db:
        old = db.execute("SELECT count(*) FROM scores WHERE version = 'old'").fetchone()
        assert old == (8,)
        ((before, after),) = db.execute("SELECT before, after FROM rescorings").fetchall()
        assert json.loads(before)["metrics"] == {"exact_match": "old"}
        assert set(json.loads(after)["metrics"]) == {"exact_match", "contains"}
    report = json.loads(output("report", "--json", "--results", results))
    scores = {arm["name"]: {name: value["value"] for name, value in arm["metrics"].items()} for arm in report["arms"]}
    assert scores["zero"] == {"exact_match": 0.25, "contains": 0.25}
    assert scores["rag"] == {"exact_match": 0.75, "contains": 0.75}
    assert "nothing new" in output("rescore", "--results", results)


def test_rescoring_gives_what_a_run_would_have_given(results: Path, registry: Registry) -> None:
    with open_store(results) as store:
        rescore(store, None, registry)
        (trial, *_) = [row[0] for row in store.connection.execute("SELECT id FROM trials ORDER BY id")]
        labels = store.connection.execute(
            "SELECT item_id, category FROM error_labels WHERE trial_id = ? AND version <> 'old' "
            "AND category <> 'nothing_found' ORDER BY item_id, category",
            [trial],
        ).fetchall()
    assert labels == [
        ("q0", "correct"),
        ("q1", "refusal"),
        ("q1", "wrong_answer"),
        ("q2", "wrong_answer"),
        ("q3", "misspelled"),
        ("q3", "wrong_answer"),
    ]


def test_rescore_takes_own_criteria_from_a_file(results: Path, write: Write) -> None:
    write("mine.py", "def short(answer):\n    return len(answer) < 9\n")
    text = """
    [experiment]
    name = "capitals"
    [task]
    loader = "jsonl"
    test = "gone.jsonl"
    metrics = ["exact_match"]
    [[eval]]
    name = "short"
    kind = "python"
    python = "mine.py:short"
    [[category]]
    name = "hedging"
    pattern = "perhaps"
    remedy = "Ask for one answer."
    [[arm]]
    name = "zero"
    strategies = ["prompt"]
    """
    toml = write("e.toml", text)
    assert "metric short: 8 answers judged" in output("rescore", "--results", results, "--file", toml)
    report = json.loads(output("report", "--json", "--results", results))
    assert [arm["metrics"]["short"]["value"] for arm in report["arms"]] == [0.5, 0.75]
    shown = output("errors", "--results", results, "--category", "hedging")
    assert "Ask for one answer." in shown and "perhaps Paris" in shown and "at 0: 'perhaps'" in shown
    refused = call("rescore", "--results", results, "--file", toml, "--no-local-code")
    assert "--no-local-code is given" in str(refused.exception)
    needs = call("rescore", "--results", results, "--metric", "regex")
    assert "needs settings" in str(needs.exception)


def test_errors_counts_slices_and_changes(results: Path) -> None:
    output("rescore", "--results", results)
    said = output("errors", "--results", results, "--by", "length")
    for part in ("Answers by primary category", "Against zero", "Correct by country", "Correct by length", "c0", "c1"):
        assert part in said
    data = json.loads(output("errors", "--results", results, "--json"))
    assert data["transitions"]["rag"]["fixed"] == ["q1", "q3"] and data["transitions"]["rag"]["broke"] == []
    assert data["correct"]["country"]["c0"]["zero"]["value"] == 0.5
    assert data["counts"]["rag"][0]["category"] == "correct" and data["counts"]["rag"][0]["count"] == 3
    one = output("errors", "--results", results, "--arm", "rag")
    assert "What became what" in one and "refusal" in one
    examples = output("errors", "--results", results, "--arm", "zero", "--category", "misspelled")
    assert "'peple' for 'people'" in examples and "q3" in examples and "severity 1" in examples


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--arm", "rga"], "Did you mean 'rag'?"),
        (["--category", "refusl"], "Did you mean 'refusal'?"),
        (["--category", "empty"], "no answer is in the category 'empty'"),
        (["--by", "contry"], "Did you mean 'country'?"),
        (["nothing"], "there is no run 'nothing'"),
    ],
)
def test_what_is_not_there_is_explained(results: Path, arguments: list[str], says: str) -> None:
    output("rescore", "--results", results)
    assert says in str(call("errors", "--results", results, *arguments).exception)


def test_show_says_what_a_category_means_and_what_to_try(results: Path) -> None:
    output("rescore", "--results", results)
    said = " ".join(output("show", "zero", "q1", "--results", results).split())
    assert "category refusal" in said and "severity 2 of 3" in said and "try Say in the instruction" in said
    right = " ".join(output("show", "zero", "q0", "--results", results).split())
    assert "category correct" in right and "severity" not in right


def test_vocabulary_is_kept_with_the_task(tmp_path: Path) -> None:
    with open_store(tmp_path / "h.db") as store:
        store.save_items("task", "csv", {"test": []})
        assert not has_vocabulary(store, "task") and load_vocabulary(store, "task") is None
        words = {"ouagadougou", "ünïcode", "\ud800"}
        save_vocabulary(store, "task", words)
        assert has_vocabulary(store, "task") and load_vocabulary(store, "task") == {"ouagadougou", "ünïcode", "?"}


def test_a_stored_metric_with_local_code_needs_no_file_to_be_read(registry: Registry, results: Path) -> None:
    from harness.config import Use

    use = Use("python", "own", {"python": "gone.py:judge", "sha256": "0" * 64})
    (judge,) = judges("metric", [use], registry)
    assert judge.plugin.aggregate([{"value": 1.0}]) == 1.0
    store: Store
    with open_store(results) as store:
        run = store.resolve_run(None)
        resolved = {**run.config_resolved, "task": {"metrics": [vars(use)]}}
        store.connection.execute("UPDATE runs SET config_resolved = ?", [json.dumps(resolved)])
        store.connection.commit()
        with pytest.raises(Exception, match=r"own: local code 'gone\.py'"):
            rescore(store, None, registry)
