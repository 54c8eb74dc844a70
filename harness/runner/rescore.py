"""`harness rescore`: metrics and classifiers over stored outputs. No model runs; old scores stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from harness.config import Experiment, Use
from harness.exceptions import HarnessError, PluginError
from harness.plugins import Registry
from harness.runner.evaluate import Evaluator, Judge
from harness.runner.late import NOT_BY_RESCORING, LateMetrics, is_late
from harness.runner.provenance import package_versions
from harness.store.candidates import curve_trials_of
from harness.store.database import Store
from harness.store.queries import run_trials
from harness.store.records import RunRow
from harness.store.rescoring import load_vocabulary, note_rescoring, stored_test
from harness.tables import GenerationTable
from harness.tasks.task import Task
from harness.tasks.vocabulary import Vocabulary

#: Answers that all judges take in turn before the next ones: what they have in common is still at hand then.
BATCH = 128


@dataclass(frozen=True)
class StoredCriteria:
    """What judges a stored run; `harness.runner.evaluate.Criteria`."""

    metrics: tuple[Use, ...]
    errors: tuple[Use, ...]
    generation: GenerationTable


@dataclass(frozen=True)
class Rescored:
    """`judged` counts new scores or categories by metric or classifier; `notes` say what could not be as before."""

    run: RunRow
    judged: dict[str, int]
    notes: tuple[str, ...] = ()


def rescore(
    store: Store,
    reference: str | None,
    registry: Registry,
    *,
    experiment: Experiment | None = None,
    metrics: Sequence[str] = (),
    progress: Callable[[str], None] = lambda text: None,
) -> Rescored:
    """Judges a run's stored outputs by what is missing: newer versions of its own metrics and classifiers, those of an
    experiment file, and further metrics by name. The run shows the new versions from then on."""
    run = store.resolve_run(reference)
    criteria = _criteria(run, registry, experiment, metrics)
    test, inputs = stored_test(store, run.task_fingerprint)
    words = load_vocabulary(store, run.task_fingerprint)
    labels = tuple(run.task.get("labels", ()))
    task = Task((), (), test, (), labels, run.task.get("readout", "generate"), {}, inputs, {})
    vocabulary = None if words is None else Vocabulary(lambda: [" ".join(words)])
    evaluator = Evaluator(criteria, task, registry, vocabulary=vocabulary)
    late = LateMetrics(evaluator, store, NOT_BY_RESCORING)
    notes = []
    if words is None:
        notes.append("The words of the corpus were not stored with this run: spelling is judged without them.")
    judged: dict[str, int] = {}
    unmeasured: dict[str, int] = {}  # trials by the key of what was not measured
    whole = [(*link, late.of(None)) for link in run_trials(store, run.id)]
    curve = [(*link, late.of(run.primary_metric)) for link in curve_trials_of(store, run.id)]
    for arm, seed, trial, afterwards in [*whole, *curve]:
        if trial.status == "done":
            progress(f"{arm}, seed {seed}")
            counts = _judge_trial(store, trial.id, evaluator)
            counts |= {f"metric {j.id}": len(_told(j, late.score, trial.id, j)) for j in afterwards}
            for name, count in counts.items():
                judged[name] = judged.get(name, 0) + count
            for want, _ in late.due(trial.id, afterwards):
                unmeasured[want.key] = unmeasured.get(want.key, 0) + 1
    for judge in late.judges:
        if count := unmeasured.get(late.key(judge), 0):
            trials = "1 trial" if count == 1 else f"{count} trials"
            notes.append(f"{judge.id} has no value, or not for all items, in {trials}: {NOT_BY_RESCORING}.")
    resolved = dict(run.config_resolved)
    resolved["task"] = {**resolved.get("task", {}), "metrics": [asdict(use) for use in criteria.metrics]}
    resolved["errors"] = [asdict(use) for use in criteria.errors]
    versions = {**run.score_versions, **evaluator.versions}
    if versions != dict(run.score_versions) or any(judged.values()):
        note_rescoring(store, run, resolved, versions, package_versions(registry))
    return Rescored(run, judged, tuple(notes))


def _criteria(run: RunRow, registry: Registry, experiment: Experiment | None, metrics: Sequence[str]) -> StoredCriteria:
    stored = [Use(**use) for use in run.config_resolved.get("task", {}).get("metrics", [])]
    errors = [Use(**use) for use in run.config_resolved.get("errors", [])] or _standing(registry)
    if experiment is not None:
        stored = _merged(stored, experiment.metrics)
        errors = _merged(errors, experiment.errors)
    else:
        errors = _merged(_standing(registry), errors)
    stored = _merged(stored, [_named(name, registry) for name in metrics])
    return StoredCriteria(
        tuple(stored), tuple(errors), GenerationTable.model_validate(run.config_resolved.get("generation", {}))
    )


def _merged(old: Iterable[Use], new: Iterable[Use]) -> list[Use]:
    """By id; the new one wins in the old one's place."""
    return list({use.id: use for use in (*old, *new)}.values())


def _standing(registry: Registry) -> list[Use]:
    """All classifiers that are asked without being named, with their usual settings."""
    found = []
    for entry in registry.of_kind("error classifier"):
        if getattr(entry.spec, "default", True):
            config = entry.config_class()
            found.append(Use(entry.name, entry.name, {} if config is None else config().model_dump(mode="json")))
    return found


def _named(name: str, registry: Registry) -> Use:
    config = registry.get("metric", name).config_class()
    try:
        return Use(name, name, {} if config is None else config().model_dump(mode="json"))
    except ValidationError:
        raise PluginError(
            f"metric '{name}' needs settings.", hint="Write it into an experiment file and give that with --file."
        ) from None


def _judge_trial(store: Store, trial_id: int, evaluator: Evaluator) -> dict[str, int]:
    """New records by judge, late metrics apart; whatever is there in its version already is left alone."""
    predictions = [prediction for prediction in store.predictions(trial_id) if prediction.finish != "error"]
    metrics = [judge for judge in evaluator.metrics if not is_late(judge)]
    scored = {judge.id: store.scored_items(trial_id, judge.id, judge.version) for judge in metrics}
    labelled = {judge.id: store.labelled_items(trial_id, judge.id, judge.version) for judge in evaluator.classifiers}
    counts = {f"metric {name}": 0 for name in scored} | {f"classifier {name}": 0 for name in labelled}
    for start in range(0, len(predictions), BATCH):
        batch = predictions[start : start + BATCH]
        scores: dict[str, Any] = {}
        for judge in metrics:
            scores[judge.id] = {}
            if todo := [p for p in batch if p.item_id not in scored[judge.id]]:
                scores[judge.id] = _told(judge, evaluator.score, todo, judge)
                store.add_scores(trial_id, judge.id, judge.version, scores[judge.id])
            counts[f"metric {judge.id}"] += len(todo)
        for judge in evaluator.classifiers:
            if todo := [p for p in batch if p.item_id not in labelled[judge.id]]:
                labels = _told(judge, evaluator.classify, todo, judge, scores)
                store.add_error_labels(trial_id, judge.id, judge.version, labels)
            counts[f"classifier {judge.id}"] += len(todo)
    return counts


def _told(judge: Judge, call: Callable[..., Any], *arguments: Any) -> Any:
    """What the call gives; an error of the plugin names the metric or classifier."""
    try:
        return call(*arguments)
    except PluginError as error:
        raise HarnessError(f"{judge.id}: {error.message}", hint=error.hint) from error
