"""Candidates of sweeps and points of learning curves: what is kept, and what belongs to which run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.analysis.rows import CandidateRows
from harness.store.reader import Reader
from harness.store.records import TrialRow, clean_text, from_json, number, to_json
from harness.store.writer import Store, now
from harness.types import LedgerEntry


@dataclass(frozen=True)
class CandidateRow:
    """One candidate that was measured, or failed. `costs`: of adapting (prepare, train) and of answering (predict)."""

    key: str
    adaptation_key: str
    seed: int
    metric: str
    metric_version: str
    status: Literal["done", "failed"]
    value: float | None
    n: int
    seconds: float | None
    costs: tuple[LedgerEntry, ...] = ()
    error: str | None = None
    error_detail: str | None = None


_COLUMNS = tuple(CandidateRow.__dataclass_fields__)


def save_candidate(store: Store, row: CandidateRow) -> None:
    """Keeps a candidate; an earlier failure under the same key is replaced."""
    values = {
        **vars(row),
        "value": number(row.value),
        "costs": to_json([asdict(entry) for entry in row.costs]),
        "error": None if row.error is None else clean_text(row.error),
        "error_detail": None if row.error_detail is None else clean_text(row.error_detail),
        "created_at": now(),
    }
    marks = ", ".join(f":{name}" for name in values)
    changed = ", ".join(f"{name} = excluded.{name}" for name in values if name != "key")
    with store._transaction() as db:
        db.execute(
            f"INSERT INTO candidates ({', '.join(values)}) VALUES ({marks}) ON CONFLICT (key) DO UPDATE SET {changed}",
            values,
        )


def find_candidate(store: Reader, key: str) -> CandidateRow | None:
    """What is stored under a key."""
    query = f"SELECT {', '.join(_COLUMNS)} FROM candidates WHERE key = ?"
    row = store.connection.execute(query, [key]).fetchone()
    if row is None:
        return None
    values = dict(zip(_COLUMNS, row, strict=True))
    values["costs"] = tuple(LedgerEntry(**entry) for entry in from_json(values["costs"]))
    return CandidateRow(**values)


def link_candidates(
    store: Store, run_id: str, arm: str, tried: Sequence[tuple[str, Mapping[str, Any]]], chosen: int | None
) -> None:
    """Makes (key, settings) pairs, in the order in which they were tried, the search of an arm in a run."""
    rows = [
        (run_id, clean_text(arm), place, key, to_json(settings), int(place == chosen))
        for place, (key, settings) in enumerate(tried)
    ]
    with store._transaction() as db:
        db.execute("DELETE FROM run_candidates WHERE run_id = ? AND arm = ?", rows[0][:2])
        db.executemany("INSERT INTO run_candidates VALUES (?, ?, ?, ?, ?, ?)", rows)


def link_curve_trial(store: Store, run_id: str, arm: str, size: int, trial_id: int) -> None:
    """Makes a trial a point of an arm's learning curve in a run."""
    with store._transaction() as db:
        db.execute(
            "INSERT INTO run_curve_trials VALUES (?, ?, ?, ?)"
            " ON CONFLICT (run_id, arm, size) DO UPDATE SET trial_id = excluded.trial_id",
            [run_id, clean_text(arm), size, trial_id],
        )


def search_rows(store: Reader, run_id: str) -> dict[str, list[CandidateRows]]:
    """Candidates by arm, as they were tried, for the analysis."""
    query = """
        SELECT arm, settings, chosen, metric, value, n, costs, error FROM run_candidates
        JOIN candidates ON candidates.key = candidate_key WHERE run_id = ? ORDER BY arm, position"""
    found: dict[str, list[CandidateRows]] = {}
    for arm, settings, chosen, metric, value, n, costs, error in store.connection.execute(query, [run_id]):
        row = CandidateRows(
            settings=from_json(settings),
            metric=metric,
            value=value,
            n=n,
            chosen=bool(chosen),
            costs=tuple(LedgerEntry(**entry) for entry in from_json(costs)),
            error=error,
        )
        found.setdefault(arm, []).append(row)
    return found


def curve_trials_of(store: Reader, run_id: str) -> list[tuple[str, int, TrialRow]]:
    """(arm, seed, trial) of a run's learning curves, as `harness.store.queries.run_trials` gives those of its arms."""
    trials = [(arm, store.trial(trial_id)) for arm, _, trial_id in curve_links(store, run_id)]
    return [(arm, trial.seed, trial) for arm, trial in trials]


def curve_links(store: Reader, run_id: str) -> list[tuple[str, int, int]]:
    """(arm, training examples, trial) of a run's learning curves."""
    query = "SELECT arm, size, trial_id FROM run_curve_trials WHERE run_id = ? ORDER BY arm, size"
    return [(arm, size, trial_id) for arm, size, trial_id in store.connection.execute(query, [run_id])]
