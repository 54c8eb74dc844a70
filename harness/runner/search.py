"""An arm's sweep while it runs: every candidate is adapted with the first seed and answers the validation examples.

The test examples play no part. Candidates that are stored are not measured again; one that fails costs the others
nothing, and is tried again when the same command is given.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness import sweep
from harness.adaptation import digest_of
from harness.config import Arm
from harness.runner.display import Display
from harness.runner.evaluate import Evaluator, Judge
from harness.runner.plan import PlannedTrial, make_plan
from harness.runner.prepare import Prepared
from harness.runner.tuning import candidate_trial
from harness.runner.workers import Workers
from harness.store.candidates import CandidateRow, find_candidate, save_candidate
from harness.store.database import Store
from harness.store.records import number
from harness.types import LedgerEntry, Passage, Phase, Prediction


@dataclass(frozen=True)
class Searched:
    """What a search found: candidates as (settings, stored row) in the order in which they were tried; `chosen` is the
    best one's place, None where all failed."""

    arm: Arm
    tried: tuple[tuple[sweep.Candidate, CandidateRow], ...]
    chosen: int | None

    @property
    def links(self) -> list[tuple[str, sweep.Candidate]]:
        """(key, settings) of every candidate."""
        return [(row.key, settings) for settings, row in self.tried]

    @property
    def settled(self) -> Arm:
        """The arm with the chosen settings, or with those that were tried first."""
        return sweep.with_settings(self.arm, self.tried[self.chosen or 0][0])

    @property
    def error(self) -> str:
        """Why the arm cannot run, or nothing."""
        if self.chosen is not None:
            return ""
        return f"all {len(self.tried)} candidates of its sweep failed; the first: {self.tried[0][1].error}"


class Searcher:
    """Searches arm by arm; `begin(label, seed)` counts on the display."""

    def __init__(
        self, prepared: Prepared, store: Store, display: Display, workers: Workers, begin: Callable[[str, int], None]
    ) -> None:
        self.prepared, self.store, self.display, self.workers, self.begin = prepared, store, display, workers, begin
        self.experiment = prepared.experiment

    def settle(self) -> tuple[Prepared, dict[str, Searched]]:
        """The experiment with the chosen settings in its chains, and the searches by arm. An arm that has a single
        candidate has nothing to search."""
        prepared, budget = self.prepared, self.experiment.budget
        searches, arms = {}, []
        for arm in self.experiment.arms:
            if sweep.planned(arm.sweep, budget) > 1:
                searches[arm.name] = self.search(arm)
                arms.append(searches[arm.name].settled)
            else:
                arms.append(sweep.with_settings(arm, sweep.listed(arm.sweep, budget, arm.name)[0]))
        experiment = replace(self.experiment, arms=tuple(arms))
        plan = make_plan(experiment, prepared.task, prepared.source, prepared.registry)
        return replace(prepared, experiment=experiment, plan=plan), searches

    @cached_property
    def evaluator(self) -> Evaluator:
        """Judges answers to the validation examples."""
        task = replace(self.prepared.task, test=self.prepared.task.validation)
        limit_s = self.experiment.run.silence_limit_s
        return Evaluator(self.experiment, task, self.prepared.registry, limit_s=limit_s)

    @cached_property
    def judge(self) -> Judge:
        return next(judge for judge in self.evaluator.metrics if judge.id == self.experiment.primary_metric)

    def search(self, arm: Arm) -> Searched:
        """Tries the candidates that the budget allows; the best on the primary metric is chosen, of equals the
        first."""
        sign = 1.0 if self.judge.spec.higher_is_better else -1.0
        tried: list[tuple[sweep.Candidate, CandidateRow]] = []
        proposals = sweep.proposals(arm.sweep, self.experiment.budget, arm.name)
        settings = next(proposals, None)
        while settings is not None:
            row = self._measured(arm, settings)
            tried.append((settings, row))
            try:
                settings = proposals.send(None if row.value is None else sign * row.value)
            except StopIteration:
                settings = None
        known = [(sign * row.value, -place) for place, (_, row) in enumerate(tried) if row.value is not None]
        return Searched(arm, tuple(tried), -max(known)[1] if known else None)

    def _measured(self, arm: Arm, settings: sweep.Candidate) -> CandidateRow:
        prepared = self.prepared
        chain = sweep.with_settings(arm, settings)
        trial = candidate_trial(self.experiment, chain, prepared.task, prepared.source, prepared.registry)
        key = digest_of({"prediction": trial.prediction_key, "metric": [self.judge.id, self.judge.version]})
        self.begin(f"{arm.name} with {describe(settings)}", trial.seed)
        stored = find_candidate(self.store, key)
        if stored is not None and stored.status == "done":
            self.display.end("stored", None)
            return stored
        started = time.monotonic()
        row = self._measure(trial, key, started)
        save_candidate(self.store, row)
        score = "" if row.value is None else f"{row.metric} {row.value:.3f} on {row.n} validation examples"
        self.display.end(row.status, row.seconds, score or (row.error or "").splitlines()[0])
        return row

    def _measure(self, trial: PlannedTrial, key: str, started: float) -> CandidateRow:
        predictions: list[Prediction] = []
        costs: list[LedgerEntry] = []

        def take(kind: str, value: Any) -> float:
            if kind == "progress":
                self.display.progress(value)
            elif kind == "ledger":
                costs.append(LedgerEntry(**value))
            elif kind == "predictions":
                predictions.extend(prediction_of(data) for data in value["predictions"])
            elif kind == "note":
                self.display.note(f"{trial.arm}: {value}")
            return 0.0

        if trial.changes_weights:
            self.workers.close()  # a fresh base before and after
        error, detail, _ = self.workers.ask(
            trial.spec(self.prepared.source.digest, kind="candidate", latency=False), take
        )
        if trial.changes_weights or error:
            self.workers.close()
        answered = [prediction.item_id for prediction in predictions]
        due = {example.id for example in self.prepared.task.validation}
        if not error and (len(answered) != len(due) or set(answered) != due):
            error = f"{len(due & set(answered))} of {len(due)} validation examples were answered."
        value: float | None = None
        records: Mapping[str, Any] = {}
        if not error:
            try:
                records = self.evaluator.score(predictions, self.judge)
                score = self.judge.plugin.aggregate(list(records.values()))
                value = None if score is None else number(float(score))
            except Exception as problem:  # a plugin's metric: this candidate is lost, the run is not
                error = f"{self.judge.id} failed: {type(problem).__name__}: {problem}"
            if value is None and not error:
                error = f"{self.judge.id} could not be computed on the validation examples."
        seconds = time.monotonic() - started
        for quantity in ("tokens_in", "tokens_out"):
            amount = float(sum(getattr(prediction, quantity) for prediction in predictions))
            costs.append(LedgerEntry("predict", quantity, amount, "tokens"))
        return CandidateRow(
            key=key,
            adaptation_key=trial.adaptation_key,
            seed=trial.seed,
            metric=self.judge.id,
            metric_version=self.judge.version,
            status="failed" if error else "done",
            value=value,
            n=len(records),
            seconds=seconds,
            costs=tuple(_failed_costs(trial, seconds) if error else costs),
            error=error or None,
            error_detail=detail or None,
        )


def _failed_costs(trial: PlannedTrial, seconds: float) -> list[LedgerEntry]:
    """Of a candidate that failed the time is known, and how many tokens it read is not."""
    phase: Phase = "train" if trial.trains else "prepare"
    tokens = "seen_tokens" if trial.trains else "tokens_in"
    return [LedgerEntry(phase, "wall_s", seconds, "s"), LedgerEntry(phase, tokens, None, "tokens", "unknown")]


def prediction_of(data: Mapping[str, Any]) -> Prediction:
    """A prediction from the JSON form in which a worker sends it."""
    return Prediction(**{**data, "passages": tuple(Passage(**passage) for passage in data["passages"])})


def describe(settings: sweep.Candidate) -> str:
    """lora.lr=0.0003, lora.r=8"""
    return ", ".join(f"{key}={value}" for key, value in settings.items())
