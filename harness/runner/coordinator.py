"""Runs a prepared experiment: plans, sends trials to workers, writes every row as it arrives, analyses at the end.

The coordinator imports no torch and is the only writer of the database.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.adaptation import digest_of
from harness.analysis.result import Comparison
from harness.exceptions import PluginError, TrialError
from harness.runner.analyse import analyse
from harness.runner.benchmarks import Benchmarks, result_of
from harness.runner.display import Display
from harness.runner.eval_checks import check_evals, stop_if_blind, warnings_of
from harness.runner.evaluate import Evaluator, Judge
from harness.runner.keys import ENGINE_VERSION, model_key
from harness.runner.late import LateMetrics, is_late
from harness.runner.observers import Observers
from harness.runner.plan import PlannedTrial
from harness.runner.prepare import Prepared
from harness.runner.provenance import machine_facts, package_versions
from harness.runner.search import Searched, Searcher, prediction_of
from harness.runner.tuning import curve_trials
from harness.runner.workers import Workers
from harness.store.candidates import link_candidates, link_curve_trial
from harness.store.database import Store, open_store
from harness.store.measurements import add_measurements, forget_notes
from harness.store.records import Artifact, NewRun, NewTrial
from harness.store.rescoring import has_vocabulary, save_vocabulary
from harness.types import LedgerEntry, Prediction


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    run_id: str
    comparison: Comparison
    failed: int
    repeated: int  # trials that were already stored


def run_experiment(prepared: Prepared, results: Path, display: Display) -> Outcome:
    """Runs what is not stored yet, then analyses the whole. Ctrl-C leaves everything that was finished."""
    with open_store(results) as store:
        return _Run(prepared, store, results, display).execute()


class _Run:
    def __init__(self, prepared: Prepared, store: Store, results: Path, display: Display) -> None:
        self.prepared, self.store, self.display = prepared, store, display
        self.artifacts = results.parent / "artifacts"
        self.evaluator = Evaluator(
            prepared.experiment,
            prepared.task,
            prepared.registry,
            limit_s=prepared.experiment.run.silence_limit_s,
        )
        self.late = LateMetrics(self.evaluator, store)
        self.benchmarks = Benchmarks(prepared.experiment, prepared.registry)
        self.checks = check_evals(prepared.experiment, self.evaluator)
        if not prepared.rehearsal:  # a handful of items may well share one answer
            stop_if_blind(self.checks, prepared.experiment.name)
        self.task_fingerprint = digest_of(dict(prepared.task.fingerprints))
        self.versions = {**self.evaluator.versions, **self.benchmarks.versions}
        self.workers = Workers(prepared, self.artifacts, self.benchmarks.online, display.note)
        self.observers = Observers(prepared.experiment, prepared.registry, display.note)
        self.run_id = ""
        self.searches: dict[str, Searched] = {}
        self.number, self.total = 0, prepared.size

    # ------------------------------------------------------------------------------------------------- whole

    def execute(self) -> Outcome:
        try:
            with self.workers, self.display:
                self._tune()
                failed, repeated = self._run_trials()
        except BaseException as error:
            if self.run_id:  # while candidates are searched for there is no run yet
                self.store.finish_run(self.run_id, "interrupted" if isinstance(error, KeyboardInterrupt) else "failed")
            raise
        if not has_vocabulary(self.store, self.task_fingerprint):
            save_vocabulary(self.store, self.task_fingerprint, self.evaluator.vocabulary.words)
        comparison = analyse(self.store, self.run_id, self.prepared.registry)
        self.store.finish_run(self.run_id, "failed" if failed else "done", comparison.to_json())
        self.observers.tell("run_finished", {"status": "failed" if failed else "done", "failed": failed})
        return Outcome(self.run_id, comparison, failed, repeated)

    def _tune(self) -> None:
        """Searches the sweeps; from then on the experiment is the one with the chosen settings."""
        searcher = Searcher(self.prepared, self.store, self.display, self.workers, self._next)
        self.prepared, self.searches = searcher.settle()

    def _run_trials(self) -> tuple[int, int]:
        """(trials that failed, trials that were stored): the arms with all their seeds, then the learning curves."""
        prepared = self.prepared
        self.run_id = self._begin()
        work = [(trial, self._trial_id(trial)) for trial in prepared.plan.trials]
        for name, found in self.searches.items():
            link_candidates(self.store, self.run_id, name, found.links, found.chosen)
        for size, trial in curve_trials(prepared.experiment, prepared.task, prepared.source, prepared.registry):
            work.append((trial, self._begin_trial(trial)))
            link_curve_trial(self.store, self.run_id, trial.arm, size, work[-1][1])
        for text in self.evaluator.unusable:
            self.display.note(f"note: {text}")
        self.observers.run_id = self.run_id
        self.observers.tell("run_started", {"name": prepared.experiment.name, "trials": len(work)})
        repeated = failed = 0
        for trial, trial_id in work:
            self._next(trial.arm if trial.train is None else f"{trial.arm} on {len(trial.train)} examples", trial.seed)
            self.observers.begin_trial(trial.arm, trial.seed, trial_id)
            self.observers.tell("trial_started", {"chain": [use.use for use in trial.chain]})
            if stored := self.store.trial(trial_id).status == "done":
                repeated += 1
            if not self._run_trial(trial, trial_id, stored=stored):
                failed += 1
        return failed, repeated

    def _next(self, label: str, seed: int) -> None:
        self.number += 1
        self.display.begin(label, seed, self.number, self.total)

    def _begin(self) -> str:
        prepared, experiment, plan = self.prepared, self.prepared.experiment, self.prepared.plan
        key = digest_of(
            {
                "resolved": {name: value for name, value in experiment.resolved().items() if name != "run"},
                "trials": [[trial.arm, trial.seed, trial.prediction_key] for trial in plan.trials],
                "scores": self.versions,
                "engine": ENGINE_VERSION,
            }
        )
        self.store.save_items(
            self.task_fingerprint, experiment.loader.use, {"test": prepared.task.test}, prepared.task.inputs
        )
        facts = prepared.task.facts
        return self.store.begin_run(
            NewRun(
                key=key,
                name=experiment.name,
                task_fingerprint=self.task_fingerprint,
                baseline=experiment.baseline,
                primary_metric=experiment.primary_metric,
                arms=[arm.name for arm in experiment.arms],
                config_written=experiment.text,
                config_resolved={**experiment.resolved(), "plugins": dict(prepared.local)},
                versions=package_versions(prepared.registry),
                machine=machine_facts(),
                model={**asdict(prepared.source), "dtype": plan.dtype, "device": plan.device},
                task={
                    **asdict(facts),
                    "loader": experiment.loader.use,
                    "fingerprints": dict(prepared.task.fingerprints),
                    "warnings": [*prepared.task.warnings, *warnings_of(self.checks)],
                    "eval_checks": [check.to_json() for check in self.checks],
                },
                score_versions=self.versions,
            )
        )

    def _trial_id(self, trial: PlannedTrial) -> int:
        trial_id = self._begin_trial(trial)
        self.store.link_trial(self.run_id, trial_id, trial.arm, trial.arm_index, trial.seed)
        return trial_id

    def _begin_trial(self, trial: PlannedTrial) -> int:
        return self.store.begin_trial(
            NewTrial(
                prediction_key=trial.prediction_key,
                adaptation_key=trial.adaptation_key,
                arm=trial.arm,
                seed=trial.seed,
                chain=[asdict(use) for use in trial.chain],
                dtype=self.prepared.plan.dtype,
            )
        )

    # -------------------------------------------------------------------------------------------- one trial

    def _run_trial(self, trial: PlannedTrial, trial_id: int, *, stored: bool) -> bool:
        """True when it finished; a failure is recorded with its error and costs no other trial anything.

        Of a stored trial only what metrics and benchmarks measure is new, as far as it is not stored as well.
        """
        started = time.monotonic()
        reason = self._rescored(trial_id) if stored else self._predict(trial, trial_id)
        measured = False
        if not reason:
            measured, reason = self._judge_late(trial, trial_id)
        if not reason and trial.train is None:
            benchmarked, reason = self._benchmark(trial, trial_id)
            measured |= benchmarked
        status = "failed" if reason else "done" if measured or not stored else "stored"
        seconds = None if status == "stored" else time.monotonic() - started
        self._end_trial(status, seconds, reason)
        if trial.changes_weights or reason:
            self.workers.close()  # the next trial gets a fresh base: nobody knows what a failed one left behind
        return not reason

    def _predict(self, trial: PlannedTrial, trial_id: int) -> str:
        """Adapts, predicts and evaluates; why that failed, or nothing."""
        self.store.start_trial(trial_id)
        if trial.arm in self.searches and (error := self.searches[trial.arm].error):
            self.store.finish_trial(trial_id, "failed", error)
            return error
        if trial.changes_weights:
            self.workers.close()  # a fresh process: what earlier trials left in its heap would add to the peak
        spec = trial.spec(
            self.prepared.source.digest,
            kind="trial",
            latency=trial.train is None,
            done_items=self.store.done_items(trial_id),
        )
        error, detail, evaluate_s = self._ask(trial, trial_id, spec)
        error = error or self._unanswered(trial_id)
        self.store.add_ledger(trial_id, [LedgerEntry("evaluate", "wall_s", evaluate_s, "s")])
        self.store.finish_trial(trial_id, "failed" if error else "done", error or None, detail or None)
        return error

    def _judge_late(self, trial: PlannedTrial, trial_id: int) -> tuple[bool, str]:
        """(whether anything was measured, why a metric failed or nothing). What cannot be measured is unknown, with the
        reason, and costs neither the trial nor other metrics anything; the same command tries again. A point of a
        learning curve shows the deciding metric only."""
        judges = self.late.of(None if trial.train is None else self.prepared.experiment.primary_metric)
        failed: dict[str, str] = {}
        due = self.late.due(trial_id, judges)
        for want, done in due:
            adaptation = self.store.trial(trial_id).adaptation or {}
            spec = self.late.spec(want, done, adaptation, trial.seed) | {"train": trial.train}
            error, _, _ = self._ask(trial, trial_id, spec)
            text = f"{want.kind} could not be measured"
            forget_notes(self.store, trial_id, text)
            if error:
                failed[want.key] = f"{text}: {error.splitlines()[0].rstrip('.')}"
                note = f"{failed[want.key]}. The same command tries again."
                self.store.add_note(trial_id, note)
                self.display.note(f"{trial.arm}: {note}")
                self.workers.close()
        started = time.perf_counter()
        try:
            new = [self.late.score(trial_id, judge, failed.get(self.late.key(judge), "")) for judge in judges]
        except PluginError as error:
            return bool(due), str(error)
        if any(new):
            seconds = time.perf_counter() - started
            self.store.add_ledger(trial_id, [LedgerEntry("evaluate", "wall_s", seconds, "s")])
        return bool(due), ""

    def _benchmark(self, trial: PlannedTrial, trial_id: int) -> tuple[bool, str]:
        """(whether anything was measured, why it failed or nothing). A failure leaves the trial's answers standing:
        the report says which benchmark is missing, and the same command tries again."""
        if not self.benchmarks.keys:
            return False, ""
        adaptation = self.store.trial(trial_id).adaptation or {}
        key = model_key(adaptation, (self.prepared.plan.dtype, self.prepared.plan.device))
        self.store.set_model_key(trial_id, key)
        done = self.store.benchmarked(key, self.benchmarks.keys.values())
        if len(done) == len(set(self.benchmarks.keys.values())):
            return False, ""
        error, _, _ = self._ask(trial, trial_id, self.benchmarks.spec(adaptation, done))
        return True, error

    def _ask(self, trial: PlannedTrial, trial_id: int, spec: Mapping[str, Any]) -> tuple[str, str, float]:
        """Sends a specification to the worker and stores what comes back: (error or nothing, its traceback, seconds
        spent on evaluation)."""
        return self.workers.ask(spec, partial(self._take, trial, trial_id))

    def _rescored(self, trial_id: int) -> str:
        """Why a new metric fails on the stored answers, or nothing; the trial itself stays as it is."""
        try:
            self._rescore(trial_id)
        except PluginError as error:
            return str(error)
        return ""

    def _end_trial(self, status: str, seconds: float | None, reason: str = "") -> None:
        self.display.end(status, seconds, reason.splitlines()[0] if reason else "")
        self.observers.tell("trial_finished", {"status": status, "error": reason or None, "seconds": seconds})

    def _unanswered(self, trial_id: int) -> str:
        """What is wrong when the worker says it is done and items have no answer; else nothing."""
        expected = {example.id for example in self.prepared.task.test}
        if not (missing := expected - self.store.done_items(trial_id)):
            return ""
        return f"the trial left {len(missing)} of {len(expected)} items unanswered (first: '{min(missing)}')."

    # ---------------------------------------------------------------------------------------------- messages

    def _take(self, trial: PlannedTrial, trial_id: int, kind: str, value: Any) -> float:
        """Stores one message; returns the seconds spent on evaluation."""
        if kind in ("ledger", "note"):
            self.observers.tell(kind, value if kind == "ledger" else {"text": value})  # type: ignore[arg-type]
        if kind == "progress":
            self.display.progress(value)
        elif kind == "predictions":
            return self._take_predictions(trial, trial_id, value)
        elif kind == "ledger":
            self.store.add_ledger(trial_id, [LedgerEntry(**value)])
        elif kind == "adaptation":
            self.store.set_adaptation(trial_id, value["adaptation"])
        elif kind == "latencies":
            self.store.add_latencies(trial_id, {row["item_id"]: row["seconds"] for row in value})
        elif kind == "curve":
            self.store.add_curve(trial_id, value["series"], [(int(step), point) for step, point in value["points"]])
        elif kind == "artifact":
            folder = self.artifacts / value["path"]
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            self.store.add_artifact(trial_id, Artifact(value["kind"], value["path"], size, value["digest"]))
        elif kind == "measured":
            add_measurements(self.store, trial_id, value["kind"], value["key"], value["values"])
        elif kind == "benchmark":
            key = self.store.trial(trial_id).model_key
            results = [result_of(data) for data in value["results"]]
            self.store.add_benchmark(str(key), self.benchmarks.key(value["task"]), results)
        elif kind == "note":
            self.store.add_note(trial_id, value)
            self.display.note(f"{trial.arm}: {value}")
        return 0.0

    def _take_predictions(self, trial: PlannedTrial, trial_id: int, value: Mapping[str, Any]) -> float:
        predictions = [prediction_of(data) for data in value["predictions"]]
        self._require_order(trial, predictions, value["positions"])
        self.store.add_predictions(trial_id, predictions, value["positions"])
        started = time.perf_counter()
        self._evaluate(trial_id, predictions)
        done = len(self.store.done_items(trial_id))
        counts = {"count": len(predictions), "done": done, "total": len(self.prepared.task.test)}
        self.observers.tell("predictions", counts)
        return time.perf_counter() - started

    def _require_order(self, trial: PlannedTrial, predictions: Sequence[Prediction], positions: Sequence[int]) -> None:
        """Scores are paired by item: an answer must stand at its own question's place, and stand there once."""
        test = self.prepared.task.test
        wanted = [test[position].id if 0 <= position < len(test) else "nothing" for position in positions]
        got = [prediction.item_id for prediction in predictions]
        if got != wanted or len(set(got)) != len(got):
            chain = ", ".join(self.prepared.registry.get("strategy", use.use).label for use in trial.chain)
            raise TrialError(
                f"answers came for other items than were asked ({got[:3]} where {wanted[:3]} were due): "
                f"{chain} reordered, dropped or repeated test items."
            )

    def _evaluate(self, trial_id: int, predictions: Sequence[Prediction]) -> None:
        scores = {}
        for judge in self.evaluator.metrics:
            if is_late(judge):
                continue
            scores[judge.id] = self.evaluator.score(predictions, judge)
            self.store.add_scores(trial_id, judge.id, judge.version, scores[judge.id])
        for judge in tuple(self.evaluator.classifiers):
            try:
                labels = self.evaluator.classify(predictions, judge, scores)
            except PluginError as error:
                self._without(judge, error, trial_id)
                continue
            self.store.add_error_labels(trial_id, judge.id, judge.version, labels)

    def _without(self, judge: Judge, error: PluginError, trial_id: int) -> None:
        """A classifier comes unasked, so its fault costs its categories from here on, and not the trial."""
        self.evaluator.classifiers.remove(judge)
        text = f"{error.message} It is asked nothing more in this run."
        self.store.add_note(trial_id, text)
        self.display.note(f"note: {text}")

    def _rescore(self, trial_id: int) -> None:
        """New metrics or classifiers over stored outputs; no model runs."""
        missing = any(
            not self.store.scored_items(trial_id, judge.id, judge.version)
            for judge in self.evaluator.metrics
            if not is_late(judge)
        ) or any(
            not self.store.labelled_items(trial_id, judge.id, judge.version) for judge in self.evaluator.classifiers
        )
        if missing:
            self._evaluate(trial_id, self.store.predictions(trial_id))
