"""Named queries: a run's rows for the analysis, one answer in full, the list of runs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from harness import taxonomy
from harness.analysis.rows import CurveRows, Decision, MetricInfo, Prices, RunRows, TrialRows
from harness.exceptions import HarnessError, nearest
from harness.store.benchmarks import benchmark_rows
from harness.store.candidates import curve_links, search_rows
from harness.store.records import RunRow, TrialRow, from_json
from harness.store.writer import NOTHING_FOUND, Store
from harness.types import ErrorLabel, LedgerEntry, Prediction, Record

T = TypeVar("T", Prices, Decision)
LOSS = "loss"  # the end of a series' name: "lora/loss"


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs; `done` and `failed` count its `trials`."""

    id: str
    name: str
    status: str
    created_at: str
    finished_at: str | None
    trials: int
    done: int
    failed: int


@dataclass(frozen=True)
class ItemDetail:
    """One answer of one arm with everything that is known about it. `item` and `prediction` are None where missing.

    `usd` is what the request's tokens cost at the run's prices; None without token prices.
    """

    run: RunRow
    arm: str
    seed: int
    trial: TrialRow
    item_id: str
    input: str | None
    fields: Mapping[str, str]
    gold: tuple[str, ...]
    evidence: tuple[str, ...]
    group: str | None
    prediction: Prediction
    scores: Mapping[str, Record]
    labels: tuple[ErrorLabel, ...]
    primary: str | None
    latency_s: float | None = None
    usd: float | None = None


# -------------------------------------------------------------------------------------------------------- runs


def list_runs(store: Store) -> list[RunSummary]:
    """All runs, latest first."""
    rows = store.connection.execute("""
        SELECT runs.id, runs.name, runs.status, runs.created_at, runs.finished_at, count(trials.id),
               coalesce(sum(trials.status = 'done'), 0), coalesce(sum(trials.status = 'failed'), 0)
        FROM runs LEFT JOIN run_trials ON run_trials.run_id = runs.id LEFT JOIN trials ON trials.id = trial_id
        GROUP BY runs.id ORDER BY runs.created_at DESC, runs.rowid DESC""")
    return [RunSummary(*row) for row in rows]


def run_trials(store: Store, run_id: str) -> list[tuple[str, int, TrialRow]]:
    """(arm, seed, trial) of a run, in the order of its arms."""
    links = store.connection.execute(
        "SELECT arm, seed, trial_id FROM run_trials WHERE run_id = ? ORDER BY arm_index, seed", [run_id]
    ).fetchall()
    return [(arm, seed, store.trial(trial_id)) for arm, seed, trial_id in links]


def run_rows(
    store: Store,
    run_id: str,
    metrics: Sequence[MetricInfo],
    *,
    prices: Prices | None = None,
    decision: Decision | None = None,
) -> RunRows:
    """A run as the analysis reads it. Prices and decision are those of the run's configuration unless given.

    One read transaction: a run that is being written is seen at one moment.
    """
    with _snapshot(store.connection):
        run = store.resolve_run(run_id)
        items, evidence = _items(store, run.task_fingerprint)
        trials = [
            _trial_rows(store, run, link, [metric.name for metric in metrics], items, evidence)
            for link in run_trials(store, run.id)
        ]
        curve = [
            CurveRows(size, _trial_rows(store, run, (arm, trial.seed, trial), [run.primary_metric], items, evidence))
            for arm, size, trial_id in curve_links(store, run.id)
            for trial in [store.trial(trial_id)]
        ]
        search = search_rows(store, run.id)
    return RunRows(
        run=run_facts(store, run),
        arms=run.arms,
        baseline=run.baseline,
        items=items,
        metrics=tuple(metrics),
        primary_metric=run.primary_metric,
        trials=trials,
        prices=prices or _settings(Prices, run.config_resolved.get("cost")),
        decision=decision or _settings(Decision, run.config_resolved.get("decision")),
        grouped=any(group is not None for group in items.values()),
        search=search,
        curve=curve,
        train=run.task.get("train"),
    )


def run_facts(store: Store, run: RunRow) -> dict[str, Any]:
    """What reports say about a run: identity, model, task, seeds, versions, machine; `results` is the database."""
    seeds = run.config_resolved.get("experiment", {}).get("seeds", [])
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "created_at": run.created_at,
        "finished_at": run.finished_at,
        "key": run.key,
        "seeds": list(seeds),
        "model": dict(run.model),
        "task": {**run.task, "fingerprint": run.task_fingerprint},
        "versions": dict(run.versions),
        "machine": dict(run.machine),
        "score_versions": {kind: dict(found) for kind, found in run.score_versions.items()},
        "results": str(store.path),
    }


class _snapshot:
    """Keeps one view of the database while several queries run; does nothing inside a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.own = connection, not connection.in_transaction

    def __enter__(self) -> None:
        if self.own:
            self.connection.execute("BEGIN")

    def __exit__(self, *exception: object) -> None:
        if self.own:
            self.connection.rollback()


def _settings(kind: type[T], values: Mapping[str, Any] | None) -> T:
    known = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in (values or {}).items() if name in known and value is not None})


def _items(store: Store, task: str) -> tuple[dict[str, str | None], dict[str, frozenset[str]]]:
    """Group by test item, in order; documents that state the answer by item, where known."""
    query = """
        SELECT item_id, group_name, evidence FROM items
        WHERE task_fingerprint = ? AND split = 'test' ORDER BY position, item_id"""
    rows = store.connection.execute(query, [task]).fetchall()
    items = {item: group for item, group, _ in rows}
    return items, {item: frozenset(json.loads(known)) for item, _, known in rows if known != "[]"}


# ------------------------------------------------------------------------------------------------------- trials


def _trial_rows(
    store: Store,
    run: RunRow,
    link: tuple[str, int, TrialRow],
    metrics: Sequence[str],
    items: Mapping[str, object],
    evidence: Mapping[str, frozenset[str]],
) -> TrialRows:
    arm, seed, trial = link
    tokens: dict[str, tuple[int, int]] = {}
    hits: dict[str, bool] = {}
    query = "SELECT item_id, finish, tokens_in, tokens_out, document_ids FROM predictions WHERE trial_id = ?"
    errors = 0
    for item, finish, tokens_in, tokens_out, documents in store.connection.execute(query, [trial.id]):
        if item not in items:
            continue
        if finish == "error":
            errors += 1
            continue
        tokens[item] = (tokens_in, tokens_out)
        if documents is not None and item in evidence:
            hits[item] = not evidence[item].isdisjoint(json.loads(documents))
    return TrialRows(
        arm=arm,
        seed=seed,
        status=trial.status if trial.status in ("done", "failed") else "pending",
        records={name: _records(store, run, trial.id, name, tokens) for name in metrics},
        categories=_categories(store, run, trial.id, tokens),
        tokens=tokens,
        latencies_s=_latencies(store, trial.id),
        ledger=_ledger(store, trial.id),
        error=trial.error,
        errors=errors,
        prediction_digest=trial.prediction_digest,
        retrieval_hits=hits,
        losses=_curve(store, trial.id, LOSS),
        benchmarks=benchmark_rows(store, run, trial),
    )


def _records(
    store: Store, run: RunRow, trial_id: int, metric: str, answered: Mapping[str, object]
) -> dict[str, Record]:
    """Records of the version that belongs to the run; of the last one written where the run does not say."""
    version = run.score_versions.get("metrics", {}).get(metric) or _last_version(store, trial_id, metric)
    found = store.score_records(trial_id, metric, version)
    return {item: record for item, record in found.items() if item in answered}


def _last_version(store: Store, trial_id: int, metric: str) -> str | None:
    query = "SELECT version FROM scores WHERE trial_id = ? AND metric = ? ORDER BY rowid DESC LIMIT 1"
    row = store.connection.execute(query, [trial_id, metric]).fetchone()
    return None if row is None else row[0]


def _categories(store: Store, run: RunRow, trial_id: int, answered: Mapping[str, object]) -> dict[str, str]:
    """The primary category of each answered item, over all classifiers of the run."""
    found: dict[str, list[str]] = {}
    for classifier, version in classifiers_of(store, run, trial_id):
        query = "SELECT item_id, category FROM error_labels WHERE trial_id = ? AND classifier = ? AND version = ?"
        for item, category in store.connection.execute(query, [trial_id, classifier, version]):
            if item in answered:
                labels = found.setdefault(item, [])
                if category != NOTHING_FOUND:
                    labels.append(category)
    # Most items have one label: no ranking is needed then.
    return {
        item: labels[0] if len(labels) == 1 else taxonomy.primary([ErrorLabel(label) for label in labels])
        for item, labels in found.items()
    }


def classifiers_of(store: Store, run: RunRow, trial_id: int) -> list[tuple[str, str]]:
    """(classifier, version) that belong to the run; the last written of each where the run does not say."""
    wanted = run.score_versions.get("classifiers")
    if wanted is not None:
        return list(wanted.items())
    query = """
        SELECT classifier, version, max(rowid) FROM error_labels WHERE trial_id = ?
        GROUP BY classifier, version ORDER BY 3"""
    return list({row[0]: row[1] for row in store.connection.execute(query, [trial_id])}.items())


def _ledger(store: Store, trial_id: int) -> list[LedgerEntry]:
    query = "SELECT phase, quantity, value, unit, basis FROM ledger WHERE trial_id = ? ORDER BY id"
    return [LedgerEntry(*row) for row in store.connection.execute(query, [trial_id])]


def _latencies(store: Store, trial_id: int) -> list[float]:
    query = "SELECT seconds FROM latencies WHERE trial_id = ? ORDER BY rowid"
    return [row[0] for row in store.connection.execute(query, [trial_id])]


def _curve(store: Store, trial_id: int, series: str) -> list[tuple[int, float]]:
    """A curve of the trial's last training: series are named by the strategy's id, such as "lora/loss"."""
    find = "SELECT series FROM curves WHERE trial_id = ? AND series LIKE ? ORDER BY rowid DESC LIMIT 1"
    found = store.connection.execute(find, [trial_id, f"%/{series}"]).fetchone()
    query = "SELECT step, value FROM curves WHERE trial_id = ? AND series = ? AND value IS NOT NULL ORDER BY step"
    return [(step, value) for step, value in store.connection.execute(query, [trial_id, found[0]])] if found else []


# ------------------------------------------------------------------------------------------------------ one item


def show_item(store: Store, run: str | None, arm: str, item: str, *, seed: int | None = None) -> ItemDetail:
    """Everything about one answer. `run` as in `resolve_run`; `seed` defaults to the arm's first.

    Raises HarnessError with the nearest name for an arm or item that is not there.
    """
    found = store.resolve_run(run)
    trial, seed = _find_trial(store, found, arm, seed)
    query = """
        SELECT input, fields, gold, evidence, group_name FROM items WHERE task_fingerprint = ? AND item_id = ?"""
    facts = store.connection.execute(query, [found.task_fingerprint, item]).fetchone()
    prediction = store.prediction(trial.id, item)
    if prediction is None:
        raise _no_answer(store, found, trial, arm, item, known=facts is not None)
    text, item_fields, gold, evidence, group = facts or (None, "{}", "[]", "[]", None)
    labels, primary = _item_labels(store, found, trial.id, item)
    prices = _settings(Prices, found.config_resolved.get("cost"))
    latency = store.connection.execute(
        "SELECT seconds FROM latencies WHERE trial_id = ? AND item_id = ?", [trial.id, item]
    ).fetchone()
    return ItemDetail(
        run=found,
        arm=arm,
        seed=seed,
        trial=trial,
        item_id=item,
        input=text,
        fields=from_json(item_fields),
        gold=tuple(from_json(gold)),
        evidence=tuple(from_json(evidence)),
        group=group,
        prediction=prediction,
        scores=_item_scores(store, found, trial.id, item),
        labels=labels,
        primary=primary,
        latency_s=latency[0] if latency else None,
        usd=_token_usd(prediction, prices),
    )


def _find_trial(store: Store, run: RunRow, arm: str, seed: int | None) -> tuple[TrialRow, int]:
    trials = run_trials(store, run.id)
    of_arm = {number: trial for name, number, trial in trials if name == arm}
    if not of_arm:
        known = list(dict.fromkeys([*run.arms, *(name for name, _, _ in trials)]))
        what = "has not been run yet" if arm in known else "is not there"
        hint = "" if arm in known else nearest(arm, known)
        raise HarnessError(f"arm '{arm}' {what} in run {run.id} ({run.name}).", hint=hint)
    if seed is None:
        seed = next(iter(of_arm))
    if seed not in of_arm:
        raise HarnessError(f"arm '{arm}' was not run with seed {seed}.", hint=f"Seeds: {', '.join(map(str, of_arm))}.")
    return of_arm[seed], seed


def _no_answer(store: Store, run: RunRow, trial: TrialRow, arm: str, item: str, *, known: bool) -> HarnessError:
    if known:
        why = f": {trial.error.splitlines()[0]}" if trial.error else "."
        return HarnessError(f"arm '{arm}' has no answer to item '{item}'; its trial is {trial.status}{why}")
    query = "SELECT item_id FROM items WHERE task_fingerprint = ? AND split = 'test' ORDER BY position"
    ids = [row[0] for row in store.connection.execute(query, [run.task_fingerprint])]
    return HarnessError(f"item '{item}' is not among the test items of run {run.id}.", hint=nearest(item, ids, most=8))


def _item_scores(store: Store, run: RunRow, trial_id: int, item: str) -> dict[str, Record]:
    versions = run.score_versions.get("metrics", {})
    query = """
        SELECT metric, version, value, record FROM scores
        WHERE trial_id = ? AND item_id = ? ORDER BY rowid"""
    rows = store.connection.execute(query, [trial_id, item]).fetchall()
    scores = {
        metric: {"value": value} if record is None else json.loads(record)
        for metric, version, value, record in rows
        if versions.get(metric, version) == version
    }
    order = list(versions)
    return dict(sorted(scores.items(), key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order)))


def _item_labels(store: Store, run: RunRow, trial_id: int, item: str) -> tuple[tuple[ErrorLabel, ...], str | None]:
    labels: list[ErrorLabel] = []
    seen = False
    for classifier, version in classifiers_of(store, run, trial_id):
        query = """
            SELECT category, evidence FROM error_labels
            WHERE trial_id = ? AND classifier = ? AND version = ? AND item_id = ? ORDER BY rowid"""
        for category, evidence in store.connection.execute(query, [trial_id, classifier, version, item]):
            seen = True
            if category != NOTHING_FOUND:
                labels.append(ErrorLabel(category, evidence))
    return tuple(labels), taxonomy.primary(labels) if seen else None


def _token_usd(prediction: Prediction, prices: Prices) -> float | None:
    one, two = prices.usd_per_1k_input_tokens, prices.usd_per_1k_output_tokens
    if one is None or two is None or prediction.tokens_in is None or prediction.tokens_out is None:
        return None
    return (prediction.tokens_in * one + prediction.tokens_out * two) / 1000
