"""The loaded task: splits, corpus, fingerprints and warnings, ready for planning and for the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness.analysis.errors import BUILT_IN_SLICES
from harness.config import Experiment
from harness.exceptions import ConfigError, DataError, Problem, nearest
from harness.guard import blamed, expect
from harness.plugins import Registry
from harness.rendering import fill, template_fields
from harness.strategy import TaskFacts
from harness.tasks.fingerprint import fingerprint, fingerprint_documents
from harness.tasks.quality import check_quality, mark_answers_in_corpus, unseen_label_warnings
from harness.tasks.split import exclusions, split_pool
from harness.toml_lines import line_of
from harness.types import Document, Example, LoadedData, Query

Splits = Mapping[str, Sequence[Example]]


@dataclass(frozen=True)
class Task:
    """`inputs` maps every item's id to its rendered input; `fingerprints` has train, validation, test, corpus."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    corpus: tuple[Document, ...]
    labels: tuple[str, ...]
    readout: str
    readout_options: Mapping[str, Any]  # see harness.readout; {} for the defaults
    inputs: Mapping[str, str]
    fingerprints: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    unseen_labels: tuple[str, ...] = ()  # labels without a training example, before any `limit`

    @property
    def facts(self) -> TaskFacts:
        sizes = (len(self.train), len(self.validation), len(self.test), len(self.corpus))
        return TaskFacts(*sizes, labels=self.labels, readout=self.readout, unseen_labels=self.unseen_labels)


def load_task(experiment: Experiment, registry: Registry, *, limit: int | None = None) -> Task:
    """Loads, splits and checks the data; raises ConfigError or DataError with every problem found.

    `limit` keeps so many items of each split, evenly spread: a rehearsal of the whole path.
    """
    entry = registry.get("task loader", experiment.loader.use)
    with blamed(entry.label, "reading the data"):
        data = entry.create(experiment.loader.settings).load(experiment.folder)
    data = expect(entry.label, "reading the data", data, LoadedData)
    splits = _splits(experiment, data.pool, data.splits)
    labels = _labels(experiment, splits)
    taught = {example.references[0] for example in splits["train"]}
    unseen = tuple(label for label in labels if label not in taught) if splits["train"] else ()
    if limit is not None:
        splits = {name: _spread(examples, limit) for name, examples in splits.items()}
    everything = [example for examples in splits.values() for example in examples]
    _check_templates(experiment, everything)
    _check_slices(experiment, everything)
    inputs = {example.id: fill(experiment.task.input, example.query.fields) for example in everything}
    quality = [*check_quality(splits, data.corpus, inputs), *unseen_label_warnings(unseen)]
    corpus = mark_answers_in_corpus(data.corpus, everything, inputs)
    try:
        fingerprints = {name: fingerprint(examples) for name, examples in splits.items()}
        fingerprints["corpus"] = fingerprint_documents(corpus)
    except UnicodeEncodeError as error:
        half = f"{error.object[error.start]!a} in {error.object[max(0, error.start - 30) : error.end + 10]!a:.80}"
        raise DataError(
            f"{entry.label} gave half a character (a lone surrogate): {half}.",
            hint="No tokenizer takes it: the loader must put another character in its place, such as U+FFFD.",
        ) from None
    return Task(
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        corpus=corpus,
        labels=labels,
        readout=experiment.readout,
        readout_options=experiment.readout_options,
        inputs=inputs,
        fingerprints=fingerprints,
        warnings=(*data.notes, *quality),
        unseen_labels=unseen,
    )


def _spread(examples: tuple[Example, ...], count: int) -> tuple[Example, ...]:
    """`count` items at even distances: files are often sorted by label."""
    if len(examples) <= count:
        return examples
    return tuple(examples[position * len(examples) // count] for position in range(count))


def _splits(
    experiment: Experiment, pool: tuple[Example, ...], given: Mapping[str, tuple[Example, ...]]
) -> dict[str, tuple[Example, ...]]:
    settings = experiment.task.split
    stratify = experiment.readout == "choose"
    key = settings.group_by
    if key is not None:
        pool = _grouped(pool, key)
        given = {name: _grouped(examples, key) for name, examples in given.items()}
    grouped = any(example.query.group is not None for example in (*pool, *given.get("train", ())))
    if pool:
        return split_pool(
            pool,
            validation=settings.validation,
            test=settings.test,
            group_by=grouped,
            seed=settings.seed,
            stratify=stratify,
        )
    splits = {name: tuple(given.get(name, ())) for name in ("train", "validation", "test")}
    if not splits["test"]:
        raise DataError("the test split is empty.", hint="Name a test file, or one data file that is split.")
    if not splits["validation"] and settings.validation > 0 and len(splits["train"]) >= 10:
        parts = split_pool(
            splits["train"],
            validation=0.0,
            test=settings.validation,
            group_by=grouped,
            seed=settings.seed,
            stratify=stratify,
        )
        splits["train"], splits["validation"] = parts["train"], parts["test"]
    return splits


def _grouped(examples: Sequence[Example], field: str) -> tuple[Example, ...]:
    result = []
    for example in examples:
        if field not in example.query.fields:
            raise DataError(
                f"group_by names the field '{field}', which item '{example.id}' does not have.",
                hint=nearest(field, example.query.fields),
            )
        result.append(replace(example, query=replace(example.query, group=example.query.fields[field])))
    return tuple(result)


def _check_templates(experiment: Experiment, examples: Sequence[Example]) -> None:
    """Every field that the input template names must be there for every item."""
    line = line_of(experiment.lines, ("task", "input"))
    wanted = template_fields(experiment.task.input)
    problems = []
    if not wanted:
        problems.append(Problem("names no field, so all items would be alike.", key="task.input", line=line))
    for field in wanted:
        lacking = [example for example in examples if field not in example.query.fields]
        if lacking:
            known = set().union(*(example.query.fields for example in lacking))
            what = f"field '{field}' is missing in {len(lacking)} of {len(examples)} items (first: {lacking[0].id})."
            problems.append(Problem(what, key="task.input", line=line, hint=nearest(field, known)))
    if problems:
        raise ConfigError(problems, source="task")


def _check_slices(experiment: Experiment, examples: Sequence[Example]) -> None:
    fields = set().union(*(example.query.fields for example in examples))
    known = {*fields, *BUILT_IN_SLICES}
    unknown = [name for name in experiment.slices if name not in known]
    if unknown:
        line = line_of(experiment.lines, ("slices", "by"))
        what = [
            Problem(f"no item has a field '{n}'.", key="slices.by", line=line, hint=nearest(n, known)) for n in unknown
        ]
        raise ConfigError(what, source="task")


def _labels(experiment: Experiment, splits: Splits) -> tuple[str, ...]:
    """The closed set of answers: as written, or all that occur in training data."""
    if experiment.readout != "choose":
        return tuple(experiment.task.labels or ())
    found = [example.references[0] for name in ("train", "validation") for example in splits[name]]
    labels = tuple(experiment.task.labels or sorted(set(found)))
    stray: dict[str, str] = {}
    for examples in splits.values():
        for example in examples:
            if example.references[0] not in labels:
                stray.setdefault(example.references[0], example.id)
    if stray:
        named = "; ".join(
            f"'{label}' (first: {item}). {nearest(label, labels)}" for label, item in [*stray.items()][:5]
        )
        raise DataError(
            f"{len(stray)} gold label(s) are not among the task's labels: {named}",
            hint="Correct the data, or add them to [task] labels.",
        )
    if len(labels) < 2:
        raise DataError("a choice needs at least two labels.", hint='Set [task] labels, or readout = "generate".')
    return labels


def write_worker_task(task: Task, path: Path) -> None:
    """What a worker gets: train and validation with gold, the corpus, and the test queries alone."""
    data = {
        "train": [asdict(example) for example in task.train],
        "validation": [asdict(example) for example in task.validation],
        "test": [asdict(example.query) for example in task.test],
        "corpus": [asdict(document) for document in task.corpus],
        "labels": list(task.labels),
        "readout": task.readout,
        "readout_options": dict(task.readout_options),
        "exclusions": {
            name: sorted(ids) for name, ids in exclusions((*task.train, *task.validation), task.inputs).items()
        },
    }
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


@dataclass(frozen=True)
class WorkerTask:
    """The task as a worker sees it: no gold for the test."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Query, ...]
    corpus: tuple[Document, ...]
    labels: tuple[str, ...]
    readout: str
    readout_options: Mapping[str, Any]
    exclusions: Mapping[str, frozenset[str]]


def read_worker_task(path: Path) -> WorkerTask:
    data = json.loads(path.read_text(encoding="utf-8"))

    def example(item: dict[str, Any]) -> Example:
        return Example(Query(**item["query"]), tuple(item["references"]), tuple(item["evidence"]))

    return WorkerTask(
        train=tuple(map(example, data["train"])),
        validation=tuple(map(example, data["validation"])),
        test=tuple(Query(**query) for query in data["test"]),
        corpus=tuple(Document(**{**item, "examples": tuple(item["examples"])}) for item in data["corpus"]),
        labels=tuple(data["labels"]),
        readout=data["readout"],
        readout_options=data["readout_options"],
        exclusions={name: frozenset(ids) for name, ids in data["exclusions"].items()},
    )
