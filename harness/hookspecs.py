"""Every hook of the harness, and only hooks.

A plugin is any module or object registered under the entry-point group `harness.plugins`. Each hook returns a list of
specs: small records that name a class by `"module:attribute"`, so that listing plugins imports nothing heavy. The named
class is constructed with an instance of its nested `Config` (a pydantic model), or with no argument when it has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pluggy

PROJECT = "harness"
ENTRY_POINT_GROUP = "harness.plugins"

#: Version of everything in this module and of the protocols it points to. A plugin module says what it was written for
#: with `HARNESS_INTERFACE = 1`; another number is refused with advice. Raised when an existing plugin would break.
INTERFACE = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


#: What a strategy or a metric can need, and a model or a task can lack.
NEEDS = ("weights", "loglikelihoods", "train", "labels", "corpus")

#: What a metric can have measured on the adapted model after a trial's answers are stored; see `harness.measures`.
MEASURES = ("gold_likelihoods", "repeats")


@dataclass(frozen=True)
class Spec:
    """What every plugin says about itself. `target` is "module:attribute" of the class.

    `packages`: distributions it imports beyond its own dependencies; `harness check` says which are missing.
    """

    name: str
    summary: str
    target: str
    packages: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class StrategySpec(Spec):
    """`changes`: which part of the adaptation it replaces ("answer": the finished text, afterwards); `delta`: for the
    model, what it leaves behind (see `harness.adaptation.Delta`). `needs`: what it cannot do without (see `NEEDS`)."""

    changes: Literal["prompt", "model", "readout", "answer"] = "prompt"
    delta: Literal["", "peft", "soft_prompt", "prefix", "weights"] = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class MetricSpec(Spec):
    """`version` enters the score key: raise it when values change. `mean`: the aggregate is the mean of "value".
    `measures`: one of `MEASURES`, for a metric that wants more than the answers; it says with which settings by
    `measurement()` (see `harness.types.Measuring`)."""

    version: str = "1"
    higher_is_better: bool = True
    low: float | None = 0.0
    high: float | None = 1.0
    mean: bool = True
    needs: tuple[str, ...] = ()
    measures: Literal["", "gold_likelihoods", "repeats"] = ""


@dataclass(frozen=True)
class ErrorClassifierSpec(Spec):
    """`categories` in the order of their claim to be the primary one. `default`: asked in every run, unnamed."""

    version: str = "1"
    categories: tuple[str, ...] = ()
    default: bool = True


@dataclass(frozen=True)
class RetrieverSpec(Spec):
    pass


@dataclass(frozen=True)
class TaskLoaderSpec(Spec):
    pass


@dataclass(frozen=True)
class BenchmarkSpec(Spec):
    pass


@dataclass(frozen=True)
class ModelSpec(Spec):
    """`target` names a function without arguments that returns a `harness.models.ModelSource` or raises ModelError.
    `provides`: what it offers of what strategies can need: "weights" to train, "loglikelihoods" of given texts."""

    provides: tuple[str, ...] = ("weights", "loglikelihoods")


@dataclass(frozen=True)
class ObserverSpec(Spec):
    """An observer is constructed once a run and watches it; it cannot change or fail it."""


@hookspec
def harness_strategies() -> Sequence[StrategySpec]:
    """Strategies: classes with `adapt(start, context) -> Adaptation`."""
    return ()


@hookspec
def harness_metrics() -> Sequence[MetricSpec]:
    """Metrics: classes with `record` and `aggregate` (see `harness.types.Metric`)."""
    return ()


@hookspec
def harness_error_classifiers() -> Sequence[ErrorClassifierSpec]:
    """Error classifiers: classes with `classify` (see `harness.types.ErrorClassifier`)."""
    return ()


@hookspec
def harness_retrievers() -> Sequence[RetrieverSpec]:
    """Retrievers: classes with `build` and `search` (see `harness.types.Retriever`)."""
    return ()


@hookspec
def harness_task_loaders() -> Sequence[TaskLoaderSpec]:
    """Task loaders: classes with `load(folder) -> LoadedData`."""
    return ()


@hookspec
def harness_benchmarks() -> Sequence[BenchmarkSpec]:
    """Public benchmarks: classes with `check`, `keys` and `run` (see `harness.types.Benchmark`)."""
    return ()


@hookspec
def harness_models() -> Sequence[ModelSpec]:
    """Named models: functions that find a model's files on this machine."""
    return ()


@hookspec
def harness_observers() -> Sequence[ObserverSpec]:
    """Observers of a run's events: classes with `observe(event)` (see `harness.events.Event`), named in `[run]`."""
    return ()
