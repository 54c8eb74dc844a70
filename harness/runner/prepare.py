"""From a file to a checked experiment: settings, plugins, data, model, plan — before any model loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import Experiment, load_experiment, read_toml
from harness.exceptions import ConfigError, HarnessError, Problem
from harness.local_code import LocalCode
from harness.local_plugins import add_local_plugins, local_digests
from harness.models.resolve import resolve_model
from harness.models.source import ModelSource
from harness.plugins import Registry, load_plugins
from harness.runner.benchmarks import plugin
from harness.runner.plan import Plan, check_arms, make_plan
from harness.runner.tuning import check_tuning, planned_candidates, planned_curve
from harness.tasks.task import Task, load_task
from harness.toml_lines import line_of


@dataclass(frozen=True)
class Prepared:
    experiment: Experiment
    registry: Registry
    task: Task
    source: ModelSource
    plan: Plan
    local: Mapping[str, str] = field(default_factory=dict)  # local plugin files and their SHA-256
    rehearsal: bool = False  # --limit was given

    @property
    def size(self) -> int:
        """Trials of the run, with the candidates of sweeps and the points of learning curves."""
        candidates = sum(count for count in planned_candidates(self.experiment).values() if count > 1)
        return candidates + len(self.plan.trials) + planned_curve(self.experiment, self.task, self.registry)


def prepare(path: Path, *, limit: int | None = None, download: bool = False, code: LocalCode | None = None) -> Prepared:
    """Validates everything that can be validated without a model; problems of data and model are reported together.

    `download` allows a Hugging Face id that the file names to be fetched; `code` says what may be loaded of the Python
    files beside the experiment file.
    """
    registry = load_plugins()
    code = code or LocalCode(path.resolve().parent)
    add_local_plugins(registry, code, path, *read_toml(path))
    local = local_digests(code.files)
    experiment = load_experiment(path, registry, code)
    problems: list[Problem] = []
    source: ModelSource | None = None
    task: Task | None = None
    try:
        source = resolve_model(experiment.model.ref, registry, experiment.folder, download=download)
    except HarnessError as error:
        problems.append(_problem(error, experiment, ("model", "ref")))
    try:
        task = load_task(experiment, registry, limit=limit)
        check_arms(experiment, task, registry)
        check_tuning(experiment, task, registry, rehearsal=limit is not None)
    except ConfigError as error:
        problems += error.problems
    except HarnessError as error:
        problems.append(_problem(error, experiment, ("task",)))
    problems += _benchmark_problems(experiment, registry, source)
    if problems or source is None or task is None:
        raise ConfigError(problems, source=str(path))
    plan = make_plan(experiment, task, source, registry)
    return Prepared(experiment, registry, task, source, plan, local, rehearsal=limit is not None)


def _benchmark_problems(experiment: Experiment, registry: Registry, source: ModelSource | None) -> list[Problem]:
    if experiment.benchmark is None:
        return []
    able = source is None or source.loglikelihoods
    sentences = plugin(experiment.benchmark, registry).check(experiment.folder, loglikelihoods=able)
    line = line_of(experiment.lines, ("benchmarks",))
    return [Problem(sentence, key="benchmarks", line=line) for sentence in sentences]


def _problem(error: HarnessError, experiment: Experiment, key: tuple[str, ...]) -> Problem:
    return Problem(error.message, key=".".join(key), line=line_of(experiment.lines, key), hint=error.hint)
