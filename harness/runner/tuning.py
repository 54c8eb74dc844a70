"""Sweeps and learning curves before they run: their checks, and the trials that they make."""

from __future__ import annotations

from dataclasses import replace

from harness import sweep
from harness.config import Arm, Experiment
from harness.exceptions import ConfigError, Problem
from harness.models.source import ModelSource
from harness.plugins import Registry
from harness.runner.plan import PlannedTrial, check_arms, make_plan
from harness.tasks.subset import with_train_size
from harness.tasks.task import Task
from harness.toml_lines import line_of


def check_tuning(experiment: Experiment, task: Task, registry: Registry, *, rehearsal: bool = False) -> None:
    """What cannot be tuned or drawn with this data, all at once. In a rehearsal there are few training examples by
    intention, and learning curves take as many as there are."""
    problems: list[Problem] = _undecided(experiment, registry)
    for place, arm in enumerate(experiment.arms):
        if sweep.grid_size(arm.sweep) < 2:
            continue
        line = line_of(experiment.lines, ("arm", place, "sweep"))
        if not task.validation:
            sentence = "a sweep is decided on validation examples, and the task has none."
            hint = "Give [task] a validation file, or a share: split = { validation = 0.1 }."
            problems.append(Problem(sentence, key=f"arm '{arm.name}', sweep", line=line, hint=hint))
        problems += _candidate_problems(experiment, place, task, registry)
    curve = experiment.learning_curve
    for size in curve.sizes if curve is not None else ():
        if size > len(task.train) and not rehearsal:
            line = line_of(experiment.lines, ("learning_curve", "sizes"))
            sentence = f"{size:,} is more than the {len(task.train):,} training examples of the task."
            problems.append(Problem(sentence, key="learning_curve.sizes", line=line))
    if curve is not None and not curve_arms(experiment, registry):
        line = line_of(experiment.lines, ("learning_curve",))
        sentence = "no arm has a strategy that trains, so there is nothing to draw."
        hint = 'Name the arms:  arms = ["few-shot"]'
        problems.append(Problem(sentence, key="learning_curve", line=line, hint=hint))
    if problems:
        raise ConfigError(problems, source=f"experiment '{experiment.name}'")


def _undecided(experiment: Experiment, registry: Registry) -> list[Problem]:
    """Choices on validation examples, where nothing is measured but the answers, by a metric that needs more."""
    use = next(use.use for use in experiment.metrics if use.id == experiment.primary_metric)
    if not getattr(registry.get("metric", use).spec, "measures", ""):
        return []
    sentence = f"cannot be decided by '{experiment.primary_metric}', which is measured after the test answers only."
    hint = "Name another [task] primary_metric"
    problems = []
    for place, arm in enumerate(experiment.arms):
        if sweep.grid_size(arm.sweep) > 1:
            line = line_of(experiment.lines, ("arm", place, "sweep"))
            problems.append(Problem(f"a sweep {sentence}", key=f"arm '{arm.name}', sweep", line=line, hint=f"{hint}."))
        for strategy in arm.chain:
            if strategy.settings.get("select_by") == "metric":
                line = line_of(experiment.lines, ("arm", place, strategy.id))
                key = f"arm '{arm.name}', {strategy.id}.select_by"
                loss = f'{hint}, or select_by = "loss".'
                problems.append(Problem(f"training {sentence}", key=key, line=line, hint=loss))
    return problems


def _candidate_problems(experiment: Experiment, place: int, task: Task, registry: Registry) -> list[Problem]:
    """What the strategies have against any of an arm's candidates. A guided search may try any of the grid; of a large
    one the first of a random draw are looked at."""
    arm = experiment.arms[place]
    budget = experiment.budget.model_copy(update={"search": "random"})
    found: list[Problem] = []
    for settings in sweep.listed(arm.sweep, budget, arm.name):
        changed = list(experiment.arms)
        changed[place] = sweep.with_settings(arm, settings)
        try:
            check_arms(replace(experiment, arms=tuple(changed)), task, registry)
        except ConfigError as error:
            found += [problem for problem in error.problems if problem not in found]
    return found


def candidate_trial(
    experiment: Experiment, arm: Arm, task: Task, source: ModelSource, registry: Registry
) -> PlannedTrial:
    """The trial of an arm's chain with the first seed, answering the validation examples in place of the test's."""
    one = replace(experiment, arms=(arm,), seeds=experiment.seeds[:1])
    validation = {**task.fingerprints, "test": task.fingerprints["validation"]}
    (trial,) = make_plan(one, replace(task, fingerprints=validation), source, registry).trials
    return trial


# ------------------------------------------------------------------------------------------- learning curves


def curve_arms(experiment: Experiment, registry: Registry) -> list[Arm]:
    """The arms whose curve is drawn: those that are named, else those with a strategy that needs training examples."""
    curve = experiment.learning_curve
    if curve is None:
        return []
    if curve.arms is not None:
        return [arm for arm in experiment.arms if arm.name in curve.arms]
    return [arm for arm in experiment.arms if any("train" in _needs(use.use, registry) for use in arm.chain)]


def _needs(strategy: str, registry: Registry) -> tuple[str, ...]:
    needs: tuple[str, ...] = getattr(registry.get("strategy", strategy).spec, "needs", ())
    return needs


def curve_trials(
    experiment: Experiment, task: Task, source: ModelSource, registry: Registry
) -> list[tuple[int, PlannedTrial]]:
    """(training examples, trial): arms as written, sizes from small to large, first seed. A point whose set is all of
    the training examples is the arm's own trial."""
    curve = experiment.learning_curve
    if curve is None:
        return []
    indexes = {arm.name: place for place, arm in enumerate(experiment.arms)}
    tasks = {size: with_train_size(task, size, curve.seed) for size in curve_sizes(experiment, task)}
    found = []
    for arm in curve_arms(experiment, registry):
        one = replace(experiment, arms=(arm,), seeds=experiment.seeds[:1])
        for size, subset in tasks.items():
            (trial,) = make_plan(one, subset, source, registry).trials
            ids = tuple(example.id for example in subset.train)
            found.append((size, replace(trial, arm_index=indexes[arm.name], train=ids)))
    return found


def curve_sizes(experiment: Experiment, task: Task) -> list[int]:
    """Numbers of training examples, from small to large; no more than there are."""
    curve = experiment.learning_curve
    return [] if curve is None else sorted({min(size, len(task.train)) for size in curve.sizes})


def planned_curve(experiment: Experiment, task: Task, registry: Registry) -> int:
    """How many points there will be."""
    return len(curve_sizes(experiment, task)) * len(curve_arms(experiment, registry))


def planned_candidates(experiment: Experiment) -> dict[str, int]:
    """How many candidates each arm tries; 1 where there is nothing to tune."""
    return {arm.name: sweep.planned(arm.sweep, experiment.budget) for arm in experiment.arms}
