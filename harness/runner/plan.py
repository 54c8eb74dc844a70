"""Arms × seeds → trials, checked before any model loads."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config import Experiment, Use
from harness.exceptions import ConfigError, PluginError, Problem
from harness.models.device import resolve_device, resolve_dtype
from harness.models.source import ModelSource
from harness.plugins import Registry
from harness.runner.keys import adaptation_key, prediction_key
from harness.tasks.task import Task
from harness.toml_lines import line_of


@dataclass(frozen=True)
class PlannedTrial:
    """One trial to run: an arm with one seed, and the keys under which its results are kept."""

    arm: str
    arm_index: int
    seed: int
    chain: tuple[Use, ...]
    adaptation_key: str
    prediction_key: str
    changes_weights: bool


@dataclass(frozen=True)
class Plan:
    trials: tuple[PlannedTrial, ...]
    device: str
    dtype: str


def check_arms(experiment: Experiment, task: Task, registry: Registry) -> None:
    """What cannot work with this task, in sentences, all at once."""
    problems = []
    facts = task.facts
    for index, arm in enumerate(experiment.arms):
        for use in arm.chain:
            entry = registry.get("strategy", use.use)
            strategy = entry.create(use.settings)
            sentences = list(strategy.check(facts))
            if "train" in entry.spec.needs and not facts.train:  # type: ignore[attr-defined]
                sentences.append("needs training examples; the task has none.")
            if "labels" in entry.spec.needs and not facts.labels:  # type: ignore[attr-defined]
                sentences.append('needs a task with labels ([task] labels or readout = "choose").')
            for kind, settings in strategy.plugins():
                sentences += _check_used(registry, kind, settings)
            line = line_of(experiment.lines, ("arm", index, use.id)) or line_of(experiment.lines, ("arm", index))
            problems += [Problem(sentence, key=f"arm '{arm.name}', {use.id}", line=line) for sentence in sentences]
    if problems:
        raise ConfigError(problems, source=f"experiment '{experiment.name}'")


def _check_used(registry: Registry, kind: str, settings: dict[str, object]) -> list[str]:
    """Problems with a plugin that a strategy uses, such as its retriever."""
    own = {name: value for name, value in settings.items() if name != "use"}
    try:
        if not isinstance(settings.get("use"), str):
            raise PluginError(f'a {kind} given as a table needs  use = "name".')
        registry.get(kind, str(settings["use"])).create(own)
    except PluginError as error:
        return [f"{error.message} {error.hint}".strip()]
    except ValueError as error:  # pydantic's ValidationError
        return [f"{kind} '{settings['use']}': {line.strip()}" for line in str(error).splitlines()[1:3]]
    return []


def make_plan(experiment: Experiment, task: Task, source: ModelSource, registry: Registry) -> Plan:
    """Trials in the order in which they run: arms as written, seeds within."""
    device = resolve_device(experiment.model.device)
    dtype = resolve_dtype(experiment.model.dtype, device)
    trials = []
    for index, arm in enumerate(experiment.arms):
        strategies = [registry.get("strategy", use.use).create(use.settings) for use in arm.chain]
        seeded = any(strategy.seeded for strategy in strategies) or experiment.generation.temperature > 0
        specs = [registry.get("strategy", use.use).spec for use in arm.chain]
        for seed in experiment.seeds if seeded else experiment.seeds[:1]:
            key = adaptation_key(experiment, task, source, arm, seed, (dtype, device), registry)
            trials.append(
                PlannedTrial(
                    arm=arm.name,
                    arm_index=index,
                    seed=seed,
                    chain=arm.chain,
                    adaptation_key=key,
                    prediction_key=prediction_key(key, experiment, task),
                    changes_weights=any(getattr(spec, "delta", "") == "weights" for spec in specs),
                )
            )
    return Plan(tuple(trials), device, dtype)
