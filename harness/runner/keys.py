"""The keys that decide what is repeated: adaptation, prediction, score (see DESIGN: a new metric never retrains)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from harness.adaptation import digest_of
from harness.config import Arm, Experiment, Use
from harness.measures import VERSION as MEASURES_VERSION
from harness.models.source import ModelSource
from harness.plugins import LOCAL, Registered, Registry
from harness.runner.code_digest import code_digest
from harness.tasks.task import Task

#: Raised when the engines' results change: rendering, tokenisation, training, decoding.
ENGINE_VERSION = "2"


def chain_code(chain: Iterable[Use], registry: Registry) -> list[str]:
    """Code digests of a chain's strategies and of the plugins they use."""
    digests = []
    for use in chain:
        entry = registry.get("strategy", use.use)
        digests.append(code_digest(entry))
        for kind, settings in entry.create(use.settings).plugins():
            digests.append(code_digest(registry.get(kind, settings["use"])))
    return digests


def adaptation_key(
    experiment: Experiment,
    task: Task,
    source: ModelSource,
    arm: Arm,
    seed: int,
    number_format: tuple[str, str],
    registry: Registry,
) -> str:
    """Equal keys: the same adaptation would come out. `number_format` is (dtype, device)."""
    return digest_of(
        {
            "engine": ENGINE_VERSION,
            "model": source.digest,
            "format": number_format,
            "task": {name: task.fingerprints[name] for name in ("train", "validation", "corpus")},
            "prompt": [experiment.task.input, experiment.task.instruction, list(task.labels), task.readout],
            "chain": [asdict(use) for use in arm.chain],
            "code": chain_code(arm.chain, registry),
            "seed": seed,
        }
    )


def prediction_key(adaptation: str, experiment: Experiment, task: Task) -> str:
    """Equal keys: the same predictions would come out."""
    return digest_of(
        {
            "adaptation": adaptation,
            "test": task.fingerprints["test"],
            "generation": experiment.generation.model_dump(),
            "readout": [task.readout, dict(task.readout_options)] if task.readout_options else task.readout,
        }
    )


def model_key(adaptation: Mapping[str, Any], number_format: tuple[str, str]) -> str:
    """Equal keys: the same model in memory. `adaptation` in its JSON form; `number_format` is (dtype, device)."""
    model = adaptation["model"]
    deltas = [[delta["kind"], delta["digest"]] for delta in model["deltas"]]
    return digest_of({"engine": ENGINE_VERSION, "base": model["base"], "deltas": deltas, "format": number_format})


def score_version(entry: Registered, settings: dict[str, Any]) -> str:
    """Version of a metric's or classifier's values: its own version (a local file's digest too), that of what it has
    measured, and its settings."""
    own = [getattr(entry.spec, "version", "1"), *([entry.origin.version] if entry.origin.distribution == LOCAL else [])]
    if measures := getattr(entry.spec, "measures", ""):
        own += [measures, MEASURES_VERSION]
    return digest_of([entry.name, *own, settings])[:16]
