"""What re-scoring needs of the database: a task's words and items, and the note of what was changed when."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from harness.store.records import RunRow, from_json, to_json
from harness.store.writer import Store, now
from harness.types import Example, Query


def has_vocabulary(store: Store, task: str) -> bool:
    query = "SELECT 1 FROM task_vocabularies WHERE task_fingerprint = ?"
    return store.connection.execute(query, [task]).fetchone() is not None


def save_vocabulary(store: Store, task: str, words: Iterable[str]) -> None:
    """Keeps the words of a task's corpus, inputs and references: the allow-list of spelling, when files are gone."""
    packed = zlib.compress("\n".join(sorted(words)).encode("utf-8", "replace"), 6)
    with store._transaction() as db:
        db.execute("INSERT OR IGNORE INTO task_vocabularies VALUES (?, ?)", [task, packed])


def load_vocabulary(store: Store, task: str) -> frozenset[str] | None:
    """None for a task that was stored before words were kept."""
    query = "SELECT words FROM task_vocabularies WHERE task_fingerprint = ?"
    row = store.connection.execute(query, [task]).fetchone()
    return None if row is None else frozenset(zlib.decompress(row[0]).decode().split("\n"))


def stored_test(store: Store, task: str) -> tuple[tuple[Example, ...], dict[str, str]]:
    """The test split with its gold, and the rendered inputs by id."""
    query = """
        SELECT item_id, input, fields, gold, evidence, group_name FROM items
        WHERE task_fingerprint = ? AND split = 'test' ORDER BY position, item_id"""
    examples, inputs = [], {}
    for item, text, fields, gold, evidence, group in store.connection.execute(query, [task]):
        inputs[item] = text or ""
        examples.append(
            Example(Query(item, from_json(fields), group), tuple(from_json(gold)), tuple(from_json(evidence)))
        )
    return tuple(examples), inputs


def note_rescoring(
    store: Store, run: RunRow, resolved: Mapping[str, Any], versions: Mapping[str, Any], packages: Mapping[str, str]
) -> None:
    """From now on the run shows scores of these versions. What it showed before stays in the database, and the change
    is written down."""
    with store._transaction() as db:
        db.execute(
            "INSERT INTO rescorings (run_id, created_at, before, after, versions) VALUES (?, ?, ?, ?, ?)",
            [run.id, now(), to_json(run.score_versions), to_json(versions), to_json(packages)],
        )
        db.execute(
            "UPDATE runs SET config_resolved = ?, score_versions = ? WHERE id = ?",
            [to_json(resolved), to_json(versions), run.id],
        )
