"""Public benchmarks: what an adaptation gained or forgot beyond the task it was made for.

The records and the contract below use the standard library only, so that they can cross processes and be stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class BenchmarkItem:
    """One item's value under one metric; None where the metric is not a number per item. Arms pair by `item_id`."""

    item_id: str
    value: float | None


@dataclass(frozen=True)
class BenchmarkResult:
    """One metric of one benchmark task, measured on one model.

    `group`: the name in the experiment file that brought the task in ("mmlu" for "mmlu_anatomy"; a task named itself
    is its own group). `mean`: the value is the mean of the items' values, so that paired item differences are its
    change. `primary`: the task's first metric. `truncated`: requests of the task whose context did not fit the window.
    """

    task: str
    group: str
    metric: str
    value: float | None
    higher_is_better: bool
    n: int
    shots: int
    items: Sequence[BenchmarkItem]
    mean: bool = True
    primary: bool = False
    truncated: int = 0


@runtime_checkable
class Benchmark(Protocol):
    """Measures a model on public tasks. Constructed with its settings; `folder` is where relative paths start."""

    def check(self, folder: str, *, download: bool = False, loglikelihoods: bool = True) -> list[str]:
        """Sentences on what cannot work, without loading a model or torch. `download`: data may come from a hub;
        `loglikelihoods`: the model can score given texts."""
        ...

    def keys(self, folder: str) -> Mapping[str, str]:
        """A digest for each task of everything but the model that its results depend on: a result stored under the
        same key and the same adapted model need not be measured again."""
        ...

    def run(self, lm: Any, seed: int, folder: str, *, skip: Collection[str] = ()) -> Iterator[BenchmarkResult]:
        """Results task by task, as they are made. `lm`: an lm-eval `LM` over the adapted model; `seed`: of sampled
        texts, never of items or shots; `skip`: tasks that are stored already. Leaves random generators as they were."""
        ...
