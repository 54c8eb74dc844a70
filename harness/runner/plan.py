"""Arms × seeds → trials, checked before any model loads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from harness.config import Experiment, Use
from harness.exceptions import ConfigError, PluginError, Problem
from harness.guard import watched
from harness.models.device import resolve_device, resolve_dtype
from harness.models.source import ModelSource
from harness.needs import SENTENCES, missing_packages, model_provides, unmet
from harness.plugins import Registry
from harness.runner.keys import adaptation_key, prediction_key
from harness.strategy import TaskFacts
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
    trains: bool = False  # some strategy of its chain changes the model
    train: tuple[str, ...] | None = None  # examples that it may learn from, on a learning curve; None: all

    def spec(self, model_digest: str, *, kind: str, latency: bool, done_items: Iterable[str] = ()) -> dict[str, Any]:
        """What a worker is sent. `kind`: "trial", or "candidate" for answers to the validation examples; `done_items`
        are answered already."""
        return {
            "kind": kind,
            "adaptation_key": self.adaptation_key,
            "model_digest": model_digest,
            "chain": [asdict(use) for use in self.chain],
            "seed": self.seed,
            "done_items": sorted(done_items),
            "latency": latency,
            "train": self.train,
        }


@dataclass(frozen=True)
class Plan:
    trials: tuple[PlannedTrial, ...]
    device: str
    dtype: str


def check_arms(experiment: Experiment, task: Task, registry: Registry) -> None:
    """What cannot work with this task and this model, in sentences, all at once."""
    facts, provides = task.facts, model_provides(experiment.model.ref, registry)
    problems = _unmet_elsewhere(experiment, facts, provides, registry)
    for index, arm in enumerate(experiment.arms):
        for use in arm.chain:
            entry = registry.get("strategy", use.use)
            sentences = unmet(entry.spec, facts, provides)
            with watched(entry.label, "checking the task"):
                strategy = entry.create(use.settings)
                sentences += [sentence for sentence in strategy.check(facts) if sentence not in sentences]
                used = list(strategy.plugins())
            for kind, settings in used:
                sentences += _check_used(registry, kind, settings)
            line = line_of(experiment.lines, ("arm", index, use.id)) or line_of(experiment.lines, ("arm", index))
            problems += [Problem(sentence, key=f"arm '{arm.name}', {use.id}", line=line) for sentence in sentences]
    if problems:
        raise ConfigError(problems, source=f"experiment '{experiment.name}'")


def _unmet_elsewhere(
    experiment: Experiment, facts: TaskFacts, provides: tuple[str, ...], registry: Registry
) -> list[Problem]:
    """Needs of the readout, the metrics, the loader and the observers."""
    problems = []
    if experiment.readout == "choose" and "loglikelihoods" not in provides:
        problems.append(Problem(f'readout = "choose" {SENTENCES["loglikelihoods"]}', key="task.readout"))
    named = [("metric", use, ("task", "metrics")) for use in experiment.metrics]
    named += [("task loader", experiment.loader, ("task", "loader"))]
    named += [("observer", use, ("run", "observers")) for use in experiment.observers]
    for kind, use, path in named:
        for sentence in unmet(registry.get(kind, use.use).spec, facts, provides):
            line = line_of(experiment.lines, path)
            problems.append(Problem(f"{kind} '{use.id}' {sentence}", key=".".join(path), line=line))
    return problems


def _check_used(registry: Registry, kind: str, settings: dict[str, object]) -> list[str]:
    """Problems with a plugin that a strategy uses, such as its retriever."""
    own = {name: value for name, value in settings.items() if name != "use"}
    try:
        if not isinstance(settings.get("use"), str):
            raise PluginError(f'a {kind} given as a table needs  use = "name".')
        entry = registry.get(kind, str(settings["use"]))
        entry.create(own)
        return [f"{kind} '{entry.name}' {sentence}" for sentence in missing_packages(entry.spec)]
    except PluginError as error:
        return [f"{error.message} {error.hint}".strip()]
    except ValueError as error:  # pydantic's ValidationError
        return [f"{kind} '{settings['use']}': {line.strip()}" for line in str(error).splitlines()[1:3]]


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
                    trains=any(getattr(spec, "changes", "prompt") == "model" for spec in specs),
                )
            )
    return Plan(tuple(trials), device, dtype)
