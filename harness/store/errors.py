"""A run's answers with their error categories, for the error analysis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import taxonomy
from harness.analysis.errors import Answer, Item
from harness.store.queries import classifiers_of, run_trials
from harness.store.records import RunRow, from_json
from harness.store.writer import NOTHING_FOUND, Store
from harness.types import ErrorLabel


@dataclass(frozen=True)
class RunErrors:
    """`answers[arm][item]`, of each arm's first seed; items in the order of the test split."""

    run: RunRow
    items: Mapping[str, Item]
    answers: Mapping[str, Mapping[str, Answer]]


def run_errors(store: Store, reference: str | None) -> RunErrors:
    """The categories of a run (as in `resolve_run`), in the versions that belong to it."""
    run = store.resolve_run(reference)
    items = {item.id: item for item in map(_item, _item_rows(store, run.task_fingerprint))}
    answers: dict[str, dict[str, Answer]] = {}
    for arm, _, trial in run_trials(store, run.id):
        if arm not in answers and trial.status == "done":
            answers[arm] = _answers(store, run, trial.id, items)
    return RunErrors(run, items, answers)


def _item_rows(store: Store, task: str) -> list[tuple[Any, ...]]:
    query = """
        SELECT item_id, input, gold, fields, group_name FROM items
        WHERE task_fingerprint = ? AND split = 'test' ORDER BY position, item_id"""
    return store.connection.execute(query, [task]).fetchall()


def _item(row: tuple[Any, ...]) -> Item:
    name, text, gold, fields, group = row
    return Item(name, text or "", tuple(from_json(gold)), from_json(fields), group)


def _answers(store: Store, run: RunRow, trial_id: int, items: Mapping[str, Item]) -> dict[str, Answer]:
    labels: dict[str, list[ErrorLabel]] = {}
    for classifier, version in classifiers_of(store, run, trial_id):
        query = """
            SELECT item_id, category, evidence FROM error_labels
            WHERE trial_id = ? AND classifier = ? AND version = ? ORDER BY rowid"""
        for item, category, evidence in store.connection.execute(query, [trial_id, classifier, version]):
            found = labels.setdefault(item, [])
            if category != NOTHING_FOUND:
                found.append(ErrorLabel(category, evidence))
    query = "SELECT item_id, parsed FROM predictions WHERE trial_id = ? AND finish <> 'error'"
    texts = dict(store.connection.execute(query, [trial_id]))
    return {
        item: Answer(texts[item], taxonomy.primary(labels[item]), tuple(labels[item]))
        for item in items
        if item in texts and item in labels
    }
