"""Look-ups by key: which run, which trial, what is there already. Reports use `harness.store.queries`."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from harness.exceptions import HarnessError, nearest
from harness.store.records import Artifact, RunRow, TrialRow, from_json
from harness.types import Passage, Prediction, Record

_RUN_COLUMNS = [field.name for field in fields(RunRow)]
_RUN_JSON = {"arms", "config_resolved", "versions", "machine", "model", "task", "score_versions", "analysis"}
_TRIAL_COLUMNS = [field.name for field in fields(TrialRow)]
_TRIAL_JSON = {"chain", "adaptation", "notes"}
_LATEST_FIRST = "ORDER BY created_at DESC, rowid DESC"


class Reader:
    """The reading half of `Store`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------------------------- runs

    def find_run(self, key: str) -> RunRow | None:
        """The run with this key, if the same experiment was begun before."""
        return self._run("WHERE key = ?", [key])

    def resolve_run(self, ref: str | None = None) -> RunRow:
        """The run a person means: None is the latest; else an id, a name (its latest run), or the start of an id."""
        if ref is None:
            run = self._run(_LATEST_FIRST, [])
            if run is None:
                raise HarnessError(f"{self.path} holds no runs yet.", hint="`harness run FILE` makes one.")
            return run
        exact = self._run("WHERE id = ?", [ref]) or self._run(f"WHERE name = ? {_LATEST_FIRST}", [ref])
        if exact is not None:
            return exact
        # substr, not LIKE: a name may hold % and _.
        found = [
            row[0]
            for row in self.connection.execute(
                f"SELECT id FROM runs WHERE ? <> '' AND substr(id, 1, ?) = ? {_LATEST_FIRST}", [ref, len(ref), ref]
            )
        ]
        if len(found) > 1:
            listed = ", ".join(found[:8]) + (" …" if len(found) > 8 else "")
            raise HarnessError(f"'{ref}' is the start of {len(found)} runs: {listed}.", hint="Give more of the id.")
        run = self._run("WHERE id = ?", found) if found else None
        if run is None:
            rows = self.connection.execute(f"SELECT id, name FROM runs {_LATEST_FIRST}").fetchall()
            known = list(dict.fromkeys(part for row in rows for part in (row[1], row[0])))
            hint = (nearest(ref, known, most=8) if known else "") or "`harness run FILE` makes one."
            raise HarnessError(f"there is no run '{ref}' in {self.path}.", hint=hint)
        return run

    def _run(self, tail: str, values: Sequence[Any]) -> RunRow | None:
        query = f"SELECT {', '.join(_RUN_COLUMNS)} FROM runs {tail} LIMIT 1"
        row = self.connection.execute(query, values).fetchone()
        return None if row is None else _run_of(row)

    # -------------------------------------------------------------------------------------------------------- trials

    def trial(self, trial_id: int) -> TrialRow:
        row = self._trial("WHERE id = ?", [trial_id])
        if row is None:
            raise HarnessError(f"trial {trial_id} is not in the results database.")
        return row

    def trial_by_key(self, prediction_key: str) -> TrialRow | None:
        return self._trial("WHERE prediction_key = ?", [prediction_key])

    def adapted_trial(self, adaptation_key: str) -> TrialRow | None:
        """A trial whose adaptation can be taken over: same adaptation key, and it got as far as having one."""
        return self._trial("WHERE adaptation_key = ? AND adaptation IS NOT NULL ORDER BY id", [adaptation_key])

    def _trial(self, tail: str, values: Sequence[Any]) -> TrialRow | None:
        query = f"SELECT {', '.join(_TRIAL_COLUMNS)} FROM trials {tail} LIMIT 1"
        row = self.connection.execute(query, values).fetchone()
        return None if row is None else _trial_of(row)

    def artifacts(self, adaptation_key: str) -> list[Artifact]:
        """What the adaptation left on disk."""
        query = "SELECT kind, path, bytes, digest FROM artifacts WHERE adaptation_key = ? ORDER BY path"
        return [Artifact(*row) for row in self.connection.execute(query, [adaptation_key])]

    # ------------------------------------------------------------------------------------------ what is there already

    def done_items(self, trial_id: int) -> set[str]:
        """Items with a prediction that counts; those that failed for reasons of ours are not done."""
        query = "SELECT item_id FROM predictions WHERE trial_id = ? AND finish <> 'error'"
        return {row[0] for row in self.connection.execute(query, [trial_id])}

    def predictions(self, trial_id: int) -> list[Prediction]:
        """All of a trial's predictions in the order of the test split, as when they were added."""
        rows = self.connection.execute(f"{_PREDICTION} ORDER BY position, item_id", [trial_id])
        return [_prediction_of(row) for row in rows]

    def prediction(self, trial_id: int, item_id: str) -> Prediction | None:
        row = self.connection.execute(f"{_PREDICTION} AND item_id = ?", [trial_id, item_id]).fetchone()
        return None if row is None else _prediction_of(row)

    def scored_items(self, trial_id: int, metric: str, version: str) -> set[str]:
        query = "SELECT item_id FROM scores WHERE trial_id = ? AND metric = ? AND version = ?"
        return {row[0] for row in self.connection.execute(query, [trial_id, metric, version])}

    def score_records(self, trial_id: int, metric: str, version: str | None) -> dict[str, Record]:
        """One metric's records of a trial, by item."""
        query = "SELECT item_id, value, record FROM scores WHERE trial_id = ? AND metric = ? AND version = ?"
        return {
            item: {"value": value} if record is None else from_json(record)
            for item, value, record in self.connection.execute(query, [trial_id, metric, version])
        }

    def benchmarked(self, model_key: str, task_keys: Collection[str]) -> set[str]:
        """Those of the task keys under which results of this model are stored."""
        query = "SELECT DISTINCT task_key FROM benchmarks WHERE model_key = ?"
        return {row[0] for row in self.connection.execute(query, [model_key])} & set(task_keys)

    def labelled_items(self, trial_id: int, classifier: str, version: str) -> set[str]:
        query = "SELECT item_id FROM error_labels WHERE trial_id = ? AND classifier = ? AND version = ?"
        return {row[0] for row in self.connection.execute(query, [trial_id, classifier, version])}


_PREDICTION_COLUMNS = [field.name for field in fields(Prediction)]
_PREDICTION = f"SELECT {', '.join(_PREDICTION_COLUMNS)} FROM predictions WHERE trial_id = ?"


def _prediction_of(row: Sequence[Any]) -> Prediction:
    values = dict(zip(_PREDICTION_COLUMNS, row, strict=True))
    values["passages"] = tuple(Passage(**passage) for passage in from_json(values["passages"]) or ())
    values["label_scores"] = from_json(values["label_scores"])
    return Prediction(**values)


def _run_of(row: Sequence[Any]) -> RunRow:
    values = _decoded(_RUN_COLUMNS, row, _RUN_JSON)
    return RunRow(**{**values, "arms": tuple(values["arms"])})


def _trial_of(row: Sequence[Any]) -> TrialRow:
    values = _decoded(_TRIAL_COLUMNS, row, _TRIAL_JSON)
    return TrialRow(**{**values, "chain": tuple(values["chain"]), "notes": tuple(values["notes"] or ())})


def _decoded(columns: Sequence[str], row: Sequence[Any], json_columns: set[str]) -> dict[str, Any]:
    return {name: from_json(value) if name in json_columns else value for name, value in zip(columns, row, strict=True)}
