"""`Store`: everything the coordinator writes, one transaction a call, and the small look-ups it needs for resuming."""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import taxonomy
from harness.exceptions import HarnessError
from harness.store.reader import Reader
from harness.store.records import Artifact, NewRun, NewTrial, RunStatus, TrialStatus, clean_text, number, to_json
from harness.types import BenchmarkResult, ErrorLabel, Example, LedgerEntry, Phase, Prediction, Record

#: Stored for an item about which a classifier had nothing to say, so that it is not asked again; no report shows it.
NOTHING_FOUND = "nothing_found"


def now() -> str:
    """UTC, ISO 8601, microseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Store(Reader):
    """An open results database. One process writes; any number may read meanwhile. Made by `open_store`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, writable: bool = True) -> None:
        super().__init__(connection, path)
        self.writable = writable

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Takes the write lock at once, so that a competing writer waits here and never fails half-way."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
            except BaseException:
                self.connection.rollback()
                raise
            self.connection.commit()
        except sqlite3.OperationalError as error:
            hint = "Check free space and permissions; is another run writing to the same database?"
            raise HarnessError(f"{self.path}: {error}.", hint=hint) from error

    # ------------------------------------------------------------------------------------------------ runs and items

    def begin_run(self, new: NewRun) -> str:
        """Id of the run with this key: a new one, or the earlier one, which is running again from now on."""
        with self._transaction() as db:
            found = db.execute("SELECT id FROM runs WHERE key = ?", [new.key]).fetchone()
            if found:
                db.execute("UPDATE runs SET status = 'running', finished_at = NULL WHERE id = ?", found)
                return str(found[0])
            run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
            _ensure_task(db, new.task_fingerprint, None)
            row = {
                "id": run_id,
                "key": new.key,
                "name": clean_text(new.name),
                "status": "running",
                "created_at": now(),
                "task_fingerprint": new.task_fingerprint,
                "baseline": new.baseline,
                "primary_metric": new.primary_metric,
                "arms": to_json(list(new.arms)),
                "config_written": clean_text(new.config_written),
                "config_resolved": to_json(new.config_resolved),
                "versions": to_json(new.versions),
                "machine": to_json(new.machine),
                "model": to_json(new.model),
                "task": to_json(new.task),
                "score_versions": to_json(new.score_versions),
            }
            marks = ", ".join(f":{name}" for name in row)
            db.execute(f"INSERT INTO runs ({', '.join(row)}) VALUES ({marks})", row)
        return run_id

    def finish_run(self, run_id: str, status: RunStatus, analysis: Mapping[str, Any] | None = None) -> None:
        """Closes a run; an analysis that was stored before stays where None is given."""
        text = None if analysis is None else to_json(analysis)
        with self._transaction() as db:
            done = db.execute(
                "UPDATE runs SET status = ?, finished_at = ?, analysis = coalesce(?, analysis) WHERE id = ?",
                [status, now(), text, run_id],
            )
            _must_exist(done, f"run '{run_id}'")

    def save_items(
        self,
        task_fingerprint: str,
        name: str,
        splits: Mapping[str, Sequence[Example]],
        inputs: Mapping[str, str] | None = None,
    ) -> None:
        """Keeps the items of a task, with their rendered inputs; items that are there already stay as they are."""
        inputs = inputs or {}
        rows = [
            (
                task_fingerprint,
                example.id,
                split,
                position,
                _text(example.query.group),
                _text(inputs.get(example.id)),
                to_json(example.query.fields),
                to_json(example.references),
                to_json(example.evidence),
            )
            for split, examples in splits.items()
            for position, example in enumerate(examples)
        ]
        with self._transaction() as db:
            _ensure_task(db, task_fingerprint, name)
            db.executemany("INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)

    # ------------------------------------------------------------------------------------------------------- trials

    def begin_trial(self, new: NewTrial) -> int:
        """Id of the trial with this prediction key; a new one is pending."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO trials (prediction_key, adaptation_key, arm, seed, chain, dtype, status)"
                " VALUES (?, ?, ?, ?, ?, ?, 'pending') ON CONFLICT (prediction_key) DO NOTHING",
                [
                    new.prediction_key,
                    new.adaptation_key,
                    clean_text(new.arm),
                    new.seed,
                    to_json(list(new.chain)),
                    new.dtype,
                ],
            )
            found = db.execute("SELECT id FROM trials WHERE prediction_key = ?", [new.prediction_key]).fetchone()
        return int(found[0])

    def link_trial(self, run_id: str, trial_id: int, arm: str, index: int, seed: int) -> None:
        """Makes a trial part of a run, under the arm's name and place there."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO run_trials (run_id, trial_id, arm, arm_index, seed) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (run_id, arm, seed) DO UPDATE SET"
                " trial_id = excluded.trial_id, arm_index = excluded.arm_index",
                [run_id, trial_id, clean_text(arm), index, seed],
            )

    def start_trial(self, trial_id: int) -> None:
        """A trial starts, or starts again: its predictions stay; its error, costs, curves and notes are forgotten,
        because every phase reports its own again (an adaptation that is taken over brings its costs along)."""
        with self._transaction() as db:
            for table in ("ledger", "curves"):
                db.execute(f"DELETE FROM {table} WHERE trial_id = ?", [trial_id])
            done = db.execute(
                "UPDATE trials SET status = 'running', error = NULL, error_detail = NULL, finished_at = NULL,"
                " notes = '[]', started_at = ? WHERE id = ?",
                [now(), trial_id],
            )
            _must_exist(done, f"trial {trial_id}")

    def set_adaptation(self, trial_id: int, adaptation: Mapping[str, Any], *, dtype: str | None = None) -> None:
        """Keeps what came out of adapting, in the JSON form of `Adaptation`."""
        with self._transaction() as db:
            done = db.execute(
                "UPDATE trials SET adaptation = ?, dtype = coalesce(?, dtype) WHERE id = ?",
                [to_json(adaptation), dtype, trial_id],
            )
            _must_exist(done, f"trial {trial_id}")

    def set_model_key(self, trial_id: int, model_key: str) -> None:
        """Says which adapted model the trial used; its benchmarks are those of that model."""
        with self._transaction() as db:
            done = db.execute("UPDATE trials SET model_key = ? WHERE id = ?", [model_key, trial_id])
            _must_exist(done, f"trial {trial_id}")

    def add_note(self, trial_id: int, note: str) -> None:
        """Something about a trial that people should read, such as "training stopped early"; said twice, kept once."""
        with self._transaction() as db:
            row = db.execute("SELECT notes FROM trials WHERE id = ?", [trial_id]).fetchone()
            notes = json.loads(row[0]) if row else []
            if clean_text(note) not in notes:
                notes.append(clean_text(note))
            done = db.execute("UPDATE trials SET notes = ? WHERE id = ?", [to_json(notes), trial_id])
            _must_exist(done, f"trial {trial_id}")

    def finish_trial(
        self,
        trial_id: int,
        status: TrialStatus,
        error: str | None = None,
        detail: str | None = None,
        digest: str | None = None,
    ) -> None:
        """Closes a trial. `error` is one line for people, `detail` the traceback. The digest of a finished trial's
        predictions is worked out here unless given."""
        if digest is None and status == "done":
            digest = self.prediction_digest(trial_id)
        with self._transaction() as db:
            done = db.execute(
                "UPDATE trials SET status = ?, error = ?, error_detail = ?, finished_at = ?,"
                " prediction_digest = coalesce(?, prediction_digest) WHERE id = ?",
                [status, _text(error), _text(detail), now(), digest, trial_id],
            )
            _must_exist(done, f"trial {trial_id}")

    def prediction_digest(self, trial_id: int) -> str:
        """Equal for trials that answered every item alike, whatever the prompts were."""
        total = hashlib.sha256()
        query = "SELECT item_id, finish, parsed, raw FROM predictions WHERE trial_id = ? ORDER BY item_id"
        for row in self.connection.execute(query, [trial_id]):
            total.update(json.dumps(tuple(row), ensure_ascii=True).encode())
        return total.hexdigest()

    # -------------------------------------------------------------------------------------- what a trial leaves behind

    def add_predictions(
        self, trial_id: int, predictions: Sequence[Prediction], positions: Sequence[int] | None = None
    ) -> None:
        """Adds predictions; one that is there already is replaced. `positions`: each one's place in the test split,
        default their order here.

        A replaced prediction that says something else loses its scores, categories and measurements, which no longer
        describe it.
        """
        with self._transaction() as db:
            places = range(len(predictions)) if positions is None else positions
            for prediction, place in zip(predictions, places, strict=True):
                row = _prediction_row(trial_id, prediction, place)
                old = db.execute(
                    "SELECT finish, parsed, raw FROM predictions WHERE trial_id = ? AND item_id = ?", row[:2]
                ).fetchone()
                db.execute(_UPSERT_PREDICTION, row)
                if old and tuple(old) != (row[3], row[8], row[9]):
                    for table in ("scores", "error_labels", "measurements"):
                        db.execute(f"DELETE FROM {table} WHERE trial_id = ? AND item_id = ?", row[:2])

    def add_scores(self, trial_id: int, metric: str, version: str, records: Mapping[str, Record]) -> None:
        """Per-item records of one metric: item id → record. The items must have predictions."""
        rows = [(trial_id, item, metric, version, *_score_columns(record)) for item, record in records.items()]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?)", rows)

    def add_error_labels(
        self, trial_id: int, classifier: str, version: str, labels: Mapping[str, Sequence[ErrorLabel]]
    ) -> None:
        """Categories by item that one classifier found; none at all is remembered as `NOTHING_FOUND`."""
        rows = [
            (
                trial_id,
                item,
                classifier,
                version,
                label.category,
                int(label.category == first),
                clean_text(label.evidence),
            )
            for item, found in labels.items()
            for first in [taxonomy.primary(found)]
            for label in found or (ErrorLabel(NOTHING_FOUND),)
        ]
        keys = [(trial_id, classifier, version, item) for item in labels]
        with self._transaction() as db:
            db.executemany(
                "DELETE FROM error_labels WHERE trial_id = ? AND classifier = ? AND version = ? AND item_id = ?", keys
            )
            db.executemany("INSERT OR IGNORE INTO error_labels VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def add_ledger(self, trial_id: int, entries: Sequence[LedgerEntry], *, replace: bool = False) -> None:
        """Adds costs. With `replace` the phases that occur in `entries` lose their earlier rows, as when one phase of
        a finished trial is done again; `start_trial` clears them all."""
        phases: set[Phase] = {entry.phase for entry in entries} if replace else set()
        rows = [
            (trial_id, entry.phase, entry.quantity, number(entry.value), entry.unit, _basis(entry)) for entry in entries
        ]
        with self._transaction() as db:
            db.executemany(
                "DELETE FROM ledger WHERE trial_id = ? AND phase = ?", [(trial_id, phase) for phase in phases]
            )
            db.executemany(
                "INSERT INTO ledger (trial_id, phase, quantity, value, unit, basis) VALUES (?, ?, ?, ?, ?, ?)", rows
            )

    def add_latencies(self, trial_id: int, seconds: Mapping[str, float]) -> None:
        """Latency by item, from the separate pass of single requests; an earlier pass is replaced."""
        rows = [(trial_id, item, value) for item, value in seconds.items() if number(value) is not None]
        with self._transaction() as db:
            db.execute("DELETE FROM latencies WHERE trial_id = ?", [trial_id])
            db.executemany("INSERT INTO latencies VALUES (?, ?, ?)", rows)

    def add_curve(self, trial_id: int, series: str, points: Sequence[tuple[int, float | None]]) -> None:
        """Points (step, value) of a curve such as "loss"; a value that is not finite is kept as unknown."""
        rows = [(trial_id, series, step, number(value)) for step, value in points]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO curves VALUES (?, ?, ?, ?)", rows)

    def add_benchmark(self, model_key: str, task_key: str, results: Sequence[BenchmarkResult]) -> None:
        """All metrics of one benchmark task on one model, with their items; earlier ones are replaced."""
        with self._transaction() as db:
            old = "SELECT id FROM benchmarks WHERE model_key = ? AND task_key = ?"
            db.execute(f"DELETE FROM benchmark_items WHERE benchmark_id IN ({old})", [model_key, task_key])
            db.execute("DELETE FROM benchmarks WHERE model_key = ? AND task_key = ?", [model_key, task_key])
            for result in results:
                row = {
                    "model_key": model_key,
                    "task_key": task_key,
                    "task": clean_text(result.task),
                    "group_name": clean_text(result.group),
                    "metric": clean_text(result.metric),
                    "value": number(result.value),
                    "higher_is_better": int(result.higher_is_better),
                    "is_mean": int(result.mean),
                    "is_primary": int(result.primary),
                    "shots": result.shots,
                    "truncated": result.truncated,
                    "created_at": now(),
                }
                marks = ", ".join(f":{name}" for name in row)
                made = db.execute(f"INSERT INTO benchmarks ({', '.join(row)}) VALUES ({marks})", row).lastrowid
                items = [(made, clean_text(item.item_id), number(item.value)) for item in result.items]
                db.executemany("INSERT OR REPLACE INTO benchmark_items VALUES (?, ?, ?)", items)

    def add_artifact(self, trial_id: int, artifact: Artifact) -> None:
        """A file or folder that the trial's adaptation left."""
        with self._transaction() as db:
            done = db.execute(
                "INSERT OR REPLACE INTO artifacts (adaptation_key, path, trial_id, kind, bytes, digest)"
                " SELECT adaptation_key, ?, id, ?, ?, ? FROM trials WHERE id = ?",
                [artifact.path, artifact.kind, artifact.bytes, artifact.digest, trial_id],
            )
            _must_exist(done, f"trial {trial_id}")


_UPSERT_PREDICTION = """
    INSERT INTO predictions (trial_id, item_id, position, finish, tokens_in, tokens_out, error, document_ids, parsed,
                             raw, prompt, passages, label_scores)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (trial_id, item_id) DO UPDATE SET
        position = excluded.position, finish = excluded.finish, tokens_in = excluded.tokens_in,
        tokens_out = excluded.tokens_out, error = excluded.error, document_ids = excluded.document_ids,
        parsed = excluded.parsed, raw = excluded.raw, prompt = excluded.prompt, passages = excluded.passages,
        label_scores = excluded.label_scores"""


def _prediction_row(trial_id: int, prediction: Prediction, position: int) -> tuple[Any, ...]:
    passages = [vars(passage) for passage in prediction.passages]
    return (
        trial_id,
        prediction.item_id,
        position,
        prediction.finish,
        prediction.tokens_in,
        prediction.tokens_out,
        _text(prediction.error),
        to_json([passage.document_id for passage in prediction.passages]) if passages else None,
        clean_text(prediction.parsed),
        clean_text(prediction.raw),
        clean_text(prediction.prompt),
        to_json(passages) if passages else None,
        None if prediction.label_scores is None else to_json(prediction.label_scores),
    )


def _score_columns(record: Record) -> tuple[float | None, str | None]:
    """(value, record). A record that is nothing but its value is stored once: reading many is twice as fast."""
    raw = record.get("value")
    value = number(raw)
    plain = len(record) == 1 and value is not None and type(raw) in (int, float)
    return value, None if plain else to_json(record)


def _basis(entry: LedgerEntry) -> str:
    return "unknown" if number(entry.value) is None else entry.basis


def _text(value: str | None) -> str | None:
    return None if value is None else clean_text(value)


def _ensure_task(db: sqlite3.Connection, fingerprint: str, name: str | None) -> None:
    db.execute(
        "INSERT INTO tasks (fingerprint, name, created_at) VALUES (?, ?, ?)"
        " ON CONFLICT (fingerprint) DO UPDATE SET name = coalesce(name, excluded.name)",
        [fingerprint, _text(name), now()],
    )


def _must_exist(cursor: sqlite3.Cursor, what: str) -> None:
    if not cursor.rowcount:
        raise HarnessError(f"{what} is not in the results database.")
