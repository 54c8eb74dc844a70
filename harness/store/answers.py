"""Texts of many answers at once, for a page that shows every arm's answer to an item side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.store.queries import run_trials
from harness.store.records import from_json
from harness.store.writer import Store
from harness.types import Passage

_MOST_VARIABLES = 500  # SQLite allows at least 999 in one statement


@dataclass(frozen=True)
class Answer:
    """What one arm was sent and what it said; `finish` as in `harness.types.Prediction`."""

    prompt: str
    raw: str
    parsed: str
    finish: str
    tokens_in: int | None
    tokens_out: int | None
    passages: tuple[Passage, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class ItemAnswers:
    """One item with the first seed's answer of each arm that has one."""

    item_id: str
    input: str
    gold: tuple[str, ...]
    evidence: tuple[str, ...]
    group: str | None
    answers: Mapping[str, Answer] = field(default_factory=dict)


def item_answers(store: Store, run_id: str, items: Sequence[str]) -> list[ItemAnswers]:
    """Items in the order given; one that the store does not know is left out."""
    run = store.resolve_run(run_id)
    facts = {row[0]: row[1:] for row in _chunks(store, _ITEMS, run.task_fingerprint, items)}
    answers: dict[str, dict[str, Answer]] = {item: {} for item in items}
    seen: set[str] = set()
    for arm, _, trial in run_trials(store, run.id):
        if arm in seen or trial.status != "done":
            continue
        seen.add(arm)
        for item, prompt, raw, parsed, finish, tokens_in, tokens_out, passages, error in _chunks(
            store, _ANSWERS, trial.id, items
        ):
            found = tuple(Passage(**passage) for passage in from_json(passages) or ())
            answers[item][arm] = Answer(prompt, raw, parsed, finish, tokens_in, tokens_out, found, error)
    result = []
    for item in items:
        if item in facts:
            text, fields, gold, evidence, group = facts[item]
            shown = text if text is not None else "\n".join(f"{k}: {v}" for k, v in json.loads(fields).items())
            known = tuple(json.loads(gold)), tuple(json.loads(evidence))
            result.append(ItemAnswers(item, shown, *known, group, answers[item]))
    return result


def run_curves(store: Store, run_id: str, most: int = 200) -> list[tuple[str, int, str, list[tuple[int, float]]]]:
    """(arm, seed, series, [(step, value)]) of every loss curve of a run, thinned to about `most` points each."""
    found = []
    for arm, seed, trial in run_trials(store, store.resolve_run(run_id).id):
        query = """
            SELECT series, step, value FROM curves
            WHERE trial_id = ? AND value IS NOT NULL AND series LIKE '%loss' ORDER BY series, step"""
        curves: dict[str, list[tuple[int, float]]] = {}
        for series, step, value in store.connection.execute(query, [trial.id]):
            curves.setdefault(series, []).append((step, value))
        found += [(arm, seed, series, _thinned(points, most)) for series, points in curves.items()]
    return found


def _thinned(points: list[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """Means of neighbouring points, so that a long noisy curve keeps its shape."""
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]


_ITEMS = """
    SELECT item_id, input, fields, gold, evidence, group_name FROM items
    WHERE task_fingerprint = ? AND item_id IN ({})"""
_ANSWERS = """
    SELECT item_id, prompt, raw, parsed, finish, tokens_in, tokens_out, passages, error FROM predictions
    WHERE trial_id = ? AND item_id IN ({})"""


def _chunks(store: Store, query: str, first: object, items: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(items), _MOST_VARIABLES):
        part = items[start : start + _MOST_VARIABLES]
        yield from store.connection.execute(query.format(", ".join("?" * len(part))), [first, *part])


def same_items(store: Store, one: str, two: str) -> frozenset[str]:
    """Test items that two runs have with the same content: fields and gold."""
    query = "SELECT item_id, fields, gold FROM items WHERE task_fingerprint = ? AND split = 'test'"
    first = set(store.connection.execute(query, [store.resolve_run(one).task_fingerprint]))
    second = set(store.connection.execute(query, [store.resolve_run(two).task_fingerprint]))
    return frozenset(row[0] for row in first & second)
