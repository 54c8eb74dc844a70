"""The results database: schema, round trips, what a crash leaves, what bad files get, and the named queries."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlite_utils import Database

from harness.analysis.rows import MetricInfo
from harness.exceptions import HarnessError
from harness.store import Artifact, NewRun, NewTrial, Store, StoreError, open_store
from harness.store.measurements import add_measurements, forget_notes, measurements
from harness.store.migrations import migrations
from harness.store.queries import list_runs, run_rows, show_item
from harness.store.schema import COLUMNS, TABLES, schema_markdown
from harness.types import ErrorLabel, Example, LedgerEntry, Passage, Prediction, Query

ROOT = Path(__file__).parent.parent
NAMES = [migration.name for migration in migrations._migrations]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "deep" / "er" / "harness.db")


def prediction(item: str, **changes: object) -> Prediction:
    values = {"item_id": item, "prompt": "P", "raw": " Paris", "parsed": "Paris", "finish": "stop"}
    return Prediction(**{**values, "tokens_in": 10, "tokens_out": 2, **changes})  # type: ignore[arg-type]


def examples(count: int = 3) -> list[Example]:
    return [
        Example(Query(f"q{i}", {"question": f"what {i}?"}, f"g{i % 2}"), ("Paris",), (f"d{i}",)) for i in range(count)
    ]


def new_run(**changes: object) -> NewRun:
    values: dict[str, object] = {
        "key": "k1",
        "name": "capitals",
        "task_fingerprint": "task",
        "baseline": "zero-shot",
        "primary_metric": "f1",
        "arms": ["zero-shot", "rag"],
        "score_versions": {"metrics": {"f1": "1"}, "classifiers": {"surface": "1", "grounding": "1"}},
    }
    return NewRun(**{**values, **changes})  # type: ignore[arg-type]


def filled(store: Store) -> tuple[str, list[int]]:
    """A run of two arms over three items, scored; the second item of rag failed for reasons of ours."""
    store.save_items("task", "csv", {"test": examples()}, {"q0": "what 0?"})
    run = store.begin_run(new_run(config_resolved={"cost": {"usd_per_hour": 2.0}, "decision": {"margin": 0.07}}))
    ids = []
    for index, arm in enumerate(("zero-shot", "rag")):
        trial = store.begin_trial(NewTrial(f"p-{arm}", f"a-{arm}", arm, 0, [{"use": arm}], "float32"))
        store.link_trial(run, trial, arm, index, 0)
        store.start_trial(trial)
        passages = (Passage("d0", "T", "text", 1.5, 1), Passage("d9", "", "other", 0.5, 2)) if arm == "rag" else ()
        found = [prediction(f"q{i}", passages=passages) for i in range(3)]
        if arm == "rag":
            found[1] = prediction("q1", finish="error", error="worker died", raw="", parsed="")
        store.add_predictions(trial, found, [0, 1, 2])
        good = [p.item_id for p in found if p.finish != "error"]
        store.add_scores(trial, "f1", "1", {item: {"value": 0.5, "precision": 1.0} for item in good})
        store.add_scores(trial, "em", "1", {item: {"value": 1.0} for item in good})
        store.add_error_labels(trial, "surface", "1", {item: [ErrorLabel("wrong_answer", "no word")] for item in good})
        grounding = [ErrorLabel("retrieval_miss")] if arm == "rag" else []
        store.add_error_labels(trial, "grounding", "1", dict.fromkeys(good, grounding))
        add_measurements(store, trial, "repeats", "k", {item: {"answers": [{"text": "Paris"}]} for item in good})
        store.add_ledger(trial, [LedgerEntry("predict", "wall_s", 1.5, "s")])
        store.add_latencies(trial, {"q0": 0.25, "q2": 0.5})
        store.add_curve(trial, "lora/loss", [(1, 2.0), (2, math.nan), (3, 1.0)])
        store.finish_trial(trial, "done")
        ids.append(trial)
    store.finish_run(run, "done", {"verdict": {"outcome": "win"}})
    return run, ids


METRICS = [MetricInfo("f1", lambda records: 0.0), MetricInfo("em", lambda records: 0.0)]


# -------------------------------------------------------------------------------------------------------- schema


def test_schema_page_is_what_the_migrations_make() -> None:
    assert (ROOT / "docs" / "schema.md").read_text(encoding="utf-8") == schema_markdown(), (
        "run: python -m harness.store.schema > docs/schema.md"
    )


def test_every_table_and_column_is_described(store: Store) -> None:
    db = Database(store.connection, execute_plugins=False)
    tables = {name for name in db.table_names() if not name.startswith(("_", "sqlite_"))}
    assert tables == set(TABLES)
    assert {f"{name}.{column.name}" for name in tables for column in db.table(name).columns} == set(COLUMNS)


@pytest.mark.parametrize("before", NAMES)
def test_migrations_go_on_from_every_earlier_schema(tmp_path: Path, before: str) -> None:
    path = tmp_path / "old.db"
    db = Database(sqlite3.connect(path), execute_plugins=False)
    migrations.apply(db, stop_before=before)
    if before not in NAMES[:2]:
        db.execute("INSERT INTO tasks VALUES ('old', NULL, '2026-01-01')")
        db.conn.commit()
    db.close()
    if before == NAMES[0]:
        path.unlink()  # nothing of ours was in it
    with open_store(path) as store:
        filled(store)
        expected = 1 if before in NAMES[:2] else 2
        assert store.connection.execute("SELECT count(*) FROM tasks").fetchone()[0] == expected


def test_database_has_wal_foreign_keys_and_a_busy_timeout(store: Store) -> None:
    def pragma(name: str) -> object:
        return store.connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert (pragma("journal_mode"), pragma("foreign_keys"), pragma("busy_timeout")) == ("wal", 1, 30_000)


def test_foreign_keys_are_enforced(store: Store) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        store.add_predictions(99, [prediction("q0")])
    trial = store.begin_trial(NewTrial("p", "a", "arm", 0))
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        store.add_scores(trial, "f1", "1", {"q0": {"value": 1.0}})
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        store.link_trial("no-run", trial, "arm", 0, 0)
    assert not store.connection.in_transaction


# ------------------------------------------------------------------------------------------------------ measurements


def test_measurements_are_kept_by_what_was_asked(store: Store) -> None:
    _, (zero, rag) = filled(store)
    add_measurements(store, zero, "gold_likelihoods", "a", {"q0": {"references": [{"nats": 1.5}]}, "q1": {}})
    add_measurements(store, zero, "gold_likelihoods", "b", {"q0": {"references": []}})
    add_measurements(store, zero, "gold_likelihoods", "a", {"q1": {"references": [{"nats": math.inf}]}})
    first = measurements(store, zero, "gold_likelihoods", "a")
    assert first == {"q0": {"references": [{"nats": 1.5}]}, "q1": {"references": [{"nats": None}]}}
    assert measurements(store, zero, "gold_likelihoods", "b") == {"q0": {"references": []}}
    assert (
        measurements(store, rag, "gold_likelihoods", "a") == {} and len(measurements(store, rag, "repeats", "k")) == 2
    )
    with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        add_measurements(store, zero, "gold_likelihoods", "a", {"no-item": {}})
    assert not store.connection.in_transaction
    store.add_predictions(zero, [prediction("q0", raw="Rome", parsed="Rome"), prediction("q1")], [0, 1])
    assert set(measurements(store, zero, "gold_likelihoods", "a")) == {"q1"}
    assert set(measurements(store, zero, "repeats", "k")) == {"q1", "q2"}


def test_records_and_notes_of_what_was_measured(store: Store) -> None:
    _, (zero, _) = filled(store)
    assert store.score_records(zero, "f1", "1")["q0"] == {"value": 0.5, "precision": 1.0}
    assert store.score_records(zero, "em", "1")["q2"] == {"value": 1.0} and store.score_records(zero, "em", "2") == {}
    for note in ("repeats could not be measured: x", "stopped early"):
        store.add_note(zero, note)
    forget_notes(store, zero, "gold_likelihoods could")
    assert len(store.trial(zero).notes) == 2
    forget_notes(store, zero, "repeats could")
    assert store.trial(zero).notes == ("stopped early",)


# ------------------------------------------------------------------------------------------------- files that are bad


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there are no results") as caught:
        open_store(tmp_path / "none.db", create=False)
    assert "harness run" in caught.value.hint and not (tmp_path / "none.db").exists()
    with pytest.raises(StoreError, match="is a folder"):
        open_store(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="folder of"):
        open_store(tmp_path / "file" / "harness.db")


def test_file_that_is_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, not rows" * 100)
    with pytest.raises(StoreError, match="not an SQLite database"):
        open_store(path)
    assert path.read_text().startswith("these are notes")


def test_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "harness.db"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 5000)
    with pytest.raises(StoreError, match=r"damaged|not a database"):
        open_store(path)


def test_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE customers (id)")
    other.close()
    with pytest.raises(StoreError, match=r"holds something else \(customers\)"):
        open_store(path)


def test_database_of_a_newer_version(store: Store) -> None:
    store.connection.execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('harness', 'm999_future')")
    store.connection.commit()
    with pytest.raises(StoreError, match=r"newer version.*m999_future"):
        open_store(store.path)


def test_read_only_file(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = filled(store)
    store.close()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(StoreError, match="is read-only"):
        open_store(store.path)
    with open_store(store.path, create=False) as reader:
        assert reader.resolve_run().id == run
        with pytest.raises(HarnessError, match="readonly"):
            reader.finish_run(run, "failed")


def test_locked_database(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    other = sqlite3.connect(store.path)
    other.execute("BEGIN IMMEDIATE")
    store.connection.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(HarnessError, match="locked"):
        store.begin_run(new_run())
    other.rollback()
    assert store.begin_run(new_run())


# ------------------------------------------------------------------------------------------------- runs and trials


def test_run_is_found_again_by_its_key(store: Store) -> None:
    run = store.begin_run(new_run(config_written="[experiment]\n", machine={"cores": 2}))
    assert run == store.begin_run(new_run()) and run != store.begin_run(new_run(key="k2"))
    store.finish_run(run, "done", {"a": [1, None]})
    row = store.find_run("k1")
    assert row is not None and row.id == run and row.arms == ("zero-shot", "rag")
    assert (row.status, row.analysis, row.machine, row.config_written) == (
        "done",
        {"a": [1, None]},
        {"cores": 2},
        "[experiment]\n",
    )
    store.begin_run(new_run())
    again = store.find_run("k1")
    assert again is not None and again.status == "running" and again.finished_at is None and again.analysis
    assert store.find_run("nothing") is None


def test_resolve_run(store: Store) -> None:
    with pytest.raises(HarnessError, match="holds no runs"):
        store.resolve_run()
    first = store.begin_run(new_run())
    second = store.begin_run(new_run(key="k2"))
    third = store.begin_run(new_run(key="k3", name="100%_sure"))
    assert store.resolve_run().id == third
    assert store.resolve_run("capitals").id == second
    assert store.resolve_run(first).id == first
    assert store.resolve_run("100%_sure").id == third
    store.connection.execute("UPDATE runs SET id = 'abc-1' WHERE id = ?", [first])
    store.connection.execute("UPDATE runs SET id = 'abd-2' WHERE id = ?", [second])
    store.connection.commit()
    assert store.resolve_run("abc").id == "abc-1"
    with pytest.raises(HarnessError, match="start of 2 runs: abd-2, abc-1"):
        store.resolve_run("ab")
    for bad in ("", "%", "a_c"):
        with pytest.raises(HarnessError, match="there is no run"):
            store.resolve_run(bad)
    with pytest.raises(HarnessError) as caught:
        store.resolve_run("capitols")
    assert "Did you mean 'capitals'" in str(caught.value)


def test_trial_is_found_again_by_its_prediction_key(store: Store) -> None:
    trial = store.begin_trial(NewTrial("p", "a", "arm", 3, [{"use": "lora"}], "float32"))
    assert trial == store.begin_trial(NewTrial("p", "a", "another name", 3))
    row = store.trial_by_key("p")
    assert row is not None and (row.id, row.arm, row.seed, row.chain, row.status) == (
        trial,
        "arm",
        3,
        ({"use": "lora"},),
        "pending",
    )
    assert store.trial_by_key("q") is None and store.adapted_trial("a") is None
    store.set_adaptation(trial, {"prompt": [], "x": math.inf})
    adapted = store.adapted_trial("a")
    assert adapted is not None and adapted.adaptation == {"prompt": [], "x": None}
    store.add_artifact(trial, Artifact("peft", "a/lora", 10, "d"))
    store.add_artifact(trial, Artifact("peft", "a/lora", 11, "d"))
    assert store.artifacts("a") == [Artifact("peft", "a/lora", 11, "d")]
    for call in (store.start_trial, lambda trial: store.finish_trial(trial, "done"), store.trial):
        with pytest.raises(HarnessError, match="trial 77 is not in"):
            call(77)


def test_trial_that_starts_again_keeps_its_predictions_only(store: Store) -> None:
    _, (trial, _) = filled(store)
    store.add_note(trial, "slow")
    store.add_note(trial, "slow")
    assert store.trial(trial).notes == ("slow",)
    store.finish_trial(trial, "failed", "boom", "Traceback …")
    assert (store.trial(trial).error, store.trial(trial).error_detail) == ("boom", "Traceback …")
    store.start_trial(trial)
    row = store.trial(trial)
    assert (row.status, row.error, row.notes, row.finished_at) == ("running", None, (), None)
    assert store.done_items(trial) == {"q0", "q1", "q2"}
    for table in ("ledger", "curves"):
        assert store.connection.execute(f"SELECT count(*) FROM {table} WHERE trial_id = ?", [trial]).fetchone()[0] == 0


# ----------------------------------------------------------------------------------------------- what a trial leaves


def test_predictions_come_back_as_they_were(store: Store) -> None:
    trial = store.begin_trial(NewTrial("p", "a", "arm", 0))
    found = [
        prediction("ü-🙂", raw="日本\x00語", parsed="", label_scores={"a": -1.5, "b": -2.0}, finish="choice"),
        prediction("b", passages=(Passage("d", "T", "x\ny", 0.25, 1),), tokens_out=0),
        prediction("a", finish="error", error="out of memory"),
    ]
    store.add_predictions(trial, found, [2, 1, 0])
    assert store.predictions(trial) == found[::-1]
    assert store.prediction(trial, "b") == found[1] and store.prediction(trial, "c") is None
    assert store.done_items(trial) == {"ü-🙂", "b"}
    store.add_predictions(trial, [prediction("c", raw="half \ud83d pair", parsed="x", label_scores={"x": -math.inf})])
    stored = store.prediction(trial, "c")
    assert stored is not None and stored.raw == "half \ufffd pair" and stored.label_scores == {"x": None}
    with pytest.raises(ValueError):
        store.add_predictions(trial, [prediction("e"), prediction("f")], [1])
    assert store.prediction(trial, "e") is None, "a call is stored whole or not at all"


def test_adding_predictions_twice_changes_nothing_but_a_new_answer_drops_its_scores(store: Store) -> None:
    _, (trial, _) = filled(store)
    digest = store.trial(trial).prediction_digest
    store.add_predictions(trial, [prediction("q0"), prediction("q1")], [0, 1])
    assert store.scored_items(trial, "f1", "1") == {"q0", "q1", "q2"}
    assert store.prediction_digest(trial) == digest
    store.add_predictions(trial, [prediction("q1", parsed="Rome")], [1])
    assert store.scored_items(trial, "f1", "1") == {"q0", "q2"} == store.labelled_items(trial, "surface", "1")
    assert store.prediction_digest(trial) != digest


def test_prediction_digest_ignores_prompt_and_order(store: Store) -> None:
    one, two = (store.begin_trial(NewTrial(key, key, key, 0)) for key in ("one", "two"))
    store.add_predictions(one, [prediction("a"), prediction("b")])
    store.add_predictions(two, [prediction("b", prompt="other"), prediction("a", prompt="other")])
    assert store.prediction_digest(one) == store.prediction_digest(two)


@pytest.mark.parametrize(
    "record",
    [
        {"value": 0.25},
        {"value": 1},
        {"value": None, "reason": "no reference"},
        {"value": 0.5, "counts": [1, 2], "text": "ü"},
        {"counts": {"a": 1}},
        {"value": True},
        {},
    ],
)
def test_score_records_come_back_as_they_were(store: Store, record: dict[str, object]) -> None:
    run, (trial, _) = filled(store)
    store.add_scores(trial, "f1", "1", {"q0": record})
    rows = run_rows(store, run, METRICS)
    assert rows.trials[0].records["f1"]["q0"] == record


def test_unknown_is_null_never_nan(store: Store) -> None:
    _, (trial, _) = filled(store)
    store.add_scores(trial, "f1", "2", {"q0": {"value": math.nan}})
    store.add_ledger(trial, [LedgerEntry("train", "wall_s", math.inf, "s"), LedgerEntry("train", "tokens", None, "1")])
    store.add_latencies(trial, {"q0": math.nan})
    rows = store.connection.execute("SELECT value, record FROM scores WHERE version = '2'").fetchall()
    assert rows == [(None, '{"value":null}')]
    rows = store.connection.execute("SELECT value, basis FROM ledger WHERE phase = 'train'").fetchall()
    assert rows == [(None, "unknown"), (None, "unknown")]
    assert store.connection.execute("SELECT count(*) FROM latencies WHERE trial_id = ?", [trial]).fetchone()[0] == 0


def test_ledger_adds_up_or_replaces_a_phase(store: Store) -> None:
    run, (trial, _) = filled(store)
    store.add_ledger(trial, [LedgerEntry("predict", "wall_s", 1.0, "s")])
    store.add_ledger(trial, [LedgerEntry("train", "wall_s", 3.0, "s")])
    store.add_ledger(trial, [LedgerEntry("train", "wall_s", 4.0, "s")], replace=True)
    ledger = run_rows(store, run, METRICS).trials[0].ledger
    assert [(entry.phase, entry.value) for entry in ledger] == [("predict", 1.5), ("predict", 1.0), ("train", 4.0)]


# ---------------------------------------------------------------------------------------------------------- queries


def test_run_rows(store: Store) -> None:
    run, _ = filled(store)
    rows = run_rows(store, run, METRICS)
    assert dict(rows.items) == {"q0": "g0", "q1": "g1", "q2": "g0"} and rows.grouped
    assert (rows.arms, rows.baseline, rows.primary_metric) == (("zero-shot", "rag"), "zero-shot", "f1")
    assert rows.prices.usd_per_hour == 2.0 and rows.decision.margin == 0.07
    assert rows.run["id"] == run and rows.run["task"]["fingerprint"] == "task"
    zero, rag = rows.trials
    assert (zero.arm, zero.seed, zero.status, zero.errors, rag.errors) == ("zero-shot", 0, "done", 0, 1)
    assert zero.categories == {f"q{i}": "wrong_answer" for i in range(3)}, "nothing found is no category"
    assert rag.categories == {"q0": "retrieval_miss", "q2": "retrieval_miss"}, "cause before symptom"
    assert set(rag.records["em"]) == set(rag.tokens) == {"q0", "q2"}, "our failure counts nowhere else"
    assert rag.retrieval_hits == {"q0": True, "q2": False} and zero.retrieval_hits == {}
    assert zero.latencies_s == [0.25, 0.5] and zero.losses == [(1, 2.0), (3, 1.0)]
    assert zero.prediction_digest and zero.tokens["q0"] == (10, 2)


def test_run_rows_take_the_runs_own_version_of_a_score(store: Store) -> None:
    run, (trial, _) = filled(store)
    store.add_scores(trial, "f1", "2", {"q0": {"value": 0.9}})
    store.add_scores(trial, "em", "2", {"q0": {"value": 0.1}})
    records = run_rows(store, run, METRICS).trials[0].records
    assert records["f1"]["q0"]["value"] == 0.5, "as the run says"
    assert records["em"] == {"q0": {"value": 0.1}}, "the run does not say: the last one"


def test_a_trial_serves_two_runs_under_two_names(store: Store) -> None:
    _, (trial, _) = filled(store)
    other = store.begin_run(new_run(key="k2", arms=["mine"], baseline="mine"))
    store.link_trial(other, trial, "mine", 0, 0)
    rows = run_rows(store, other, METRICS)
    assert [(row.arm, len(row.tokens)) for row in rows.trials] == [("mine", 3)]


def test_run_rows_of_a_run_without_anything(store: Store) -> None:
    run = store.begin_run(new_run())
    trial = store.begin_trial(NewTrial("p", "a", "rag", 0))
    store.link_trial(run, trial, "rag", 1, 0)
    rows = run_rows(store, run, METRICS)
    assert dict(rows.items) == {} and not rows.grouped and rows.prices.usd_per_hour is None
    assert [(row.arm, row.status, dict(row.records["f1"])) for row in rows.trials] == [("rag", "pending", {})]


def test_show_item(store: Store) -> None:
    filled(store)
    detail = show_item(store, None, "rag", "q0")
    assert (detail.gold, detail.evidence, detail.group, detail.input) == (("Paris",), ("d0",), "g0", "what 0?")
    assert detail.prediction.passages[0].text == "text" and detail.latency_s == 0.25 and detail.usd is None
    assert list(detail.scores) == ["f1", "em"] and detail.primary == "retrieval_miss"
    assert [label.category for label in detail.labels] == ["wrong_answer", "retrieval_miss"]
    for arm, item, message in [
        ("rga", "q0", "Did you mean 'rag'"),
        ("rag", "q00", "Did you mean 'q0'"),
        ("rag", "zzzzz", "Known: q0, q1, q2"),
    ]:
        with pytest.raises(HarnessError) as caught:
            show_item(store, None, arm, item)
        assert message in str(caught.value)
    with pytest.raises(HarnessError, match="not run with seed 5"):
        show_item(store, "capitals", "rag", "q0", seed=5)


def test_show_item_without_an_answer_says_why(store: Store) -> None:
    store.save_items("task", "csv", {"test": examples()})
    run = store.begin_run(new_run())
    trial = store.begin_trial(NewTrial("p", "a", "rag", 0))
    store.link_trial(run, trial, "rag", 1, 0)
    store.finish_trial(trial, "failed", "CUDA out of memory\nmore")
    with pytest.raises(HarnessError, match="no answer to item 'q0'; its trial is failed: CUDA out of memory"):
        show_item(store, run, "rag", "q0")
    with pytest.raises(HarnessError, match="arm 'zero-shot' has not been run yet"):
        show_item(store, run, "zero-shot", "q0")


def test_list_runs(store: Store) -> None:
    assert list_runs(store) == []
    run, _ = filled(store)
    later = store.begin_run(new_run(key="k2", name="other"))
    summaries = list_runs(store)
    assert [(row.id, row.trials, row.done, row.failed) for row in summaries] == [(later, 0, 0, 0), (run, 2, 2, 0)]


# -------------------------------------------------------------------------------------------- processes and crashes

_WRITER = """
import sys
from pathlib import Path
from harness.store import NewRun, NewTrial, open_store
from harness.types import Prediction
store = open_store(sys.argv[1])
trial = store.begin_trial(NewTrial("p", "a", "arm", 0))
for batch in range(100_000):
    items = [f"{batch}-{i}" for i in range(8)]
    store.add_predictions(trial, [Prediction(i, "p" * 500, "r", "r", "stop", 1, 1) for i in items])
    store.add_scores(trial, "f1", "1", {i: {"value": 1.0} for i in items})
    print(batch, flush=True)
"""


def test_reader_beside_a_writer_and_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "harness.db"
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert writer.stdout is not None
    try:
        said = [int(writer.stdout.readline()) for _ in range(5)]
        counts = []
        with open_store(path, create=False) as reader:
            for _ in range(20):
                counts.append(len(reader.done_items(1)))
                time.sleep(0.005)
        assert counts == sorted(counts) and counts[0] >= 8 * 5
        said += [int(writer.stdout.readline()) for _ in range(20)]
    finally:
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
    last = int(rest[-1]) if rest else said[-1]
    with open_store(path) as store:
        done = store.done_items(1)
        assert len(done) % 8 == 0, "a call is stored whole or not at all"
        assert {f"{batch}-{i}" for batch in range(last + 1) for i in range(8)} <= done, "what was committed stays"
        assert store.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        store.add_predictions(1, [prediction("after")])


def test_two_processes_may_create_and_write_at_once(tmp_path: Path) -> None:
    code = """
import sys
from harness.store import NewTrial, open_store
store = open_store(sys.argv[1])
for number in range(40):
    store.begin_trial(NewTrial(f"{sys.argv[2]}-{number}", "a", "arm", 0))
"""
    path = tmp_path / "harness.db"
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), name], cwd=ROOT) for name in "ab"]
    assert [process.wait() for process in both] == [0, 0]
    with open_store(path) as store:
        assert store.connection.execute("SELECT count(*) FROM trials").fetchone()[0] == 80


def test_a_run_is_seen_at_one_moment(store: Store) -> None:
    run, _ = filled(store)
    with open_store(store.path, create=False) as reader:
        before = run_rows(reader, run, METRICS)
        store.add_ledger(1, [LedgerEntry("train", "wall_s", 3.0, "s")])
        assert not reader.connection.in_transaction
        assert len(run_rows(reader, run, METRICS).trials[0].ledger) == len(before.trials[0].ledger) + 1
