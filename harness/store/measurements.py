"""What was measured on a trial's model for the metrics that asked for it; see `harness.measures`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.store.reader import Reader
from harness.store.records import from_json, to_json
from harness.store.writer import Store


def add_measurements(store: Store, trial_id: int, kind: str, key: str, values: Mapping[str, Any]) -> None:
    """Values by item, JSON-able; earlier ones under the same key are replaced. The items must have predictions."""
    rows = [(trial_id, kind, key, item, to_json(value)) for item, value in values.items()]
    with store._transaction() as db:
        db.executemany("INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?)", rows)


def measurements(store: Reader, trial_id: int, kind: str, key: str) -> dict[str, Any]:
    """Values by item."""
    query = "SELECT item_id, value FROM measurements WHERE trial_id = ? AND kind = ? AND key = ?"
    return {item: from_json(value) for item, value in store.connection.execute(query, [trial_id, kind, key])}


def forget_notes(store: Store, trial_id: int, start: str) -> None:
    """Takes back a trial's notes that begin so: what they say is no longer true."""
    notes = store.trial(trial_id).notes
    kept = [note for note in notes if not note.startswith(start)]
    if len(kept) < len(notes):
        with store._transaction() as db:
            db.execute("UPDATE trials SET notes = ? WHERE id = ?", [to_json(kept), trial_id])
