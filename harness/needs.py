"""What plugins need and a task, a model or this installation lacks: sentences for `harness check`."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from harness.hookspecs import ModelSpec, Spec
from harness.plugins import Registry
from harness.strategy import TaskFacts

SENTENCES = {
    "weights": "needs the model's weights, which this model does not give.",
    "loglikelihoods": "needs log-likelihoods of given texts, which this model does not give.",
    "train": "needs training examples; the task has none.",
    "labels": 'needs a task with labels ([task] labels or readout = "choose").',
    "corpus": "needs documents to retrieve from, but the task has no corpus.",
}


def model_provides(ref: str, registry: Registry) -> tuple[str, ...]:
    """What a model offers: as its plugin says; a folder or a hub id gives everything."""
    named = [entry.spec for entry in registry.of_kind("model") if entry.name == ref.rpartition(":")[2]]
    return named[0].provides if len(named) == 1 and isinstance(named[0], ModelSpec) else ModelSpec.provides


def unmet(spec: Spec, facts: TaskFacts, provides: tuple[str, ...]) -> list[str]:
    """One sentence for each need of a plugin that is not met."""
    have = {
        "weights": "weights" in provides,
        "loglikelihoods": "loglikelihoods" in provides,
        "train": bool(facts.train),
        "labels": bool(facts.labels),
        "corpus": bool(facts.corpus),
    }
    sentences = [SENTENCES[need] for need in getattr(spec, "needs", ()) if not have[need]]
    return sentences + missing_packages(spec)


def missing_packages(spec: Spec) -> list[str]:
    missing = []
    for package in spec.packages:
        try:
            version(package)
        except PackageNotFoundError:
            missing.append(f"needs the package {package}: pip install {package}")
    return missing
