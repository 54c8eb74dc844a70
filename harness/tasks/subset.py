"""Nested random subsets of the training examples, for learning curves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from harness.tasks.fingerprint import fingerprint
from harness.tasks.task import Task
from harness.types import Example


def nested_order(examples: Sequence[Example], seed: int) -> list[str]:
    """Ids in one random order whose beginnings are the subsets: it depends on ids, groups and the seed, not on the
    order of the file. Groups come one after another, so that a subset cuts at most one of them: fewer examples are
    fewer groups, as when less had been collected."""
    return [example.id for example in sorted(examples, key=lambda example: _rank(example, seed))]


def _rank(example: Example, seed: int) -> tuple[str, str, str]:
    group = example.query.group
    return (
        _hash(seed, "item", example.id) if group is None else _hash(seed, "group", group),
        _hash(seed, "item", example.id),
        example.id,
    )


def _hash(seed: int, kind: str, name: str) -> str:
    return hashlib.sha256(f"{seed}\x1f{kind}\x1f{name}".encode()).hexdigest()


def with_train_size(task: Task, size: int, seed: int) -> Task:
    """The task with `size` of its training examples, in the task's order. Everything else stays: validation, test,
    corpus and labels are those of the whole task."""
    kept = set(nested_order(task.train, seed)[:size])
    train = tuple(example for example in task.train if example.id in kept)
    return replace(task, train=train, fingerprints={**task.fingerprints, "train": fingerprint(train)})
