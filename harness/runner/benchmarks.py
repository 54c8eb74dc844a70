"""Public benchmarks in a run: what the coordinator asks for, and how the worker measures it.

A result belongs to an adapted model, not to a trial: arms that leave the model alone share one measurement.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from harness.adaptation import Adaptation
from harness.config import Experiment, Use
from harness.exceptions import PluginError
from harness.guard import blamed
from harness.plugins import Registry
from harness.types import Benchmark, BenchmarkItem, BenchmarkResult, LedgerEntry

if TYPE_CHECKING:
    from harness.models.engine import Engine
    from harness.runner.context import Emit


class Benchmarks:
    """The experiment's benchmarks as the coordinator sees them; nothing where the file names none."""

    def __init__(self, experiment: Experiment, registry: Registry) -> None:
        self.use, self.folder, self._registry = experiment.benchmark, experiment.folder, registry

    @cached_property
    def keys(self) -> dict[str, str]:
        """Task → digest of what its results depend on besides the model."""
        return {} if self.use is None else dict(plugin(self.use, self._registry).keys(self.folder))

    def key(self, task: str) -> str:
        """The key of a task that was measured; PluginError for one that was never announced."""
        if task not in self.keys:
            name = self.use.use if self.use is not None else ""
            raise PluginError(f"benchmark '{name}' gave results for '{task}', which is not among its keys.")
        return self.keys[task]

    @property
    def versions(self) -> dict[str, dict[str, str]]:
        """For the run's record of which results belong to it."""
        return {"benchmarks": self.keys} if self.keys else {}

    @cached_property
    def online(self) -> bool:
        return self.use is not None and plugin(self.use, self._registry).online

    def spec(self, adaptation: Mapping[str, Any], done: set[str]) -> dict[str, Any]:
        """What a worker is sent. `done`: task keys that are stored already."""
        assert self.use is not None
        skip = [task for task, key in self.keys.items() if key in done]
        return {
            "kind": "benchmark",
            "adaptation": adaptation,
            "use": asdict(self.use),
            "folder": self.folder,
            "skip": skip,
            "total": len(self.keys),
        }


def plugin(use: Use, registry: Registry) -> Benchmark:
    """The benchmark plugin with its settings."""
    entry = registry.get("benchmark", use.use)
    made = entry.create(use.settings)
    if not isinstance(made, Benchmark):
        raise PluginError(
            f"benchmark '{use.use}' of {entry.origin} lacks one of check, keys, run, online.",
            hint="See harness.types.Benchmark.",
        )
    return made


def result_of(data: Mapping[str, Any]) -> BenchmarkResult:
    """A result from its JSON form."""
    return BenchmarkResult(**{**data, "items": tuple(BenchmarkItem(**item) for item in data["items"])})


def measure(spec: Mapping[str, Any], engine: Engine, registry: Registry, emit: Emit) -> None:
    """In the worker: emits ("benchmark", {task, results}) for each task as it is done, then its costs."""
    from harness.models.lm_eval_adapter import LmEvalAdapter

    adaptation = Adaptation.from_json(spec["adaptation"])
    use = Use(**spec["use"])
    number = len(spec["skip"])

    def progress(done: int, total: int) -> None:
        emit("progress", {"phase": f"benchmark {number + 1}/{spec['total']}", "done": done, "total": total, "note": ""})

    progress(0, 1)
    started = time.perf_counter()
    with engine.variant(adaptation.model.deltas) as variant:
        lm = LmEvalAdapter(
            variant,
            engine.loaded.tokenizer,
            window=engine.loaded.window,
            plain=engine.plain is not None,
            on_progress=progress,
        )
        # The seed is of sampled texts: one for all trials, so that equal models give equal results.
        label = registry.get("benchmark", use.use).label
        emit("doing", f"{label} was measured")
        with blamed(label, "measuring"):
            results = plugin(use, registry).run(lm, 0, spec["folder"], skip=frozenset(spec["skip"]))
            for task, group in groupby(results, key=lambda result: result.task):
                emit("benchmark", {"task": task, "results": [asdict(result) for result in group]})
                number += 1
    for quantity, value, unit in (
        ("benchmark_wall_s", time.perf_counter() - started, "s"),
        ("benchmark_tokens_in", float(lm.tokens_in), "tokens"),
        ("benchmark_tokens_out", float(lm.tokens_out), "tokens"),
    ):
        emit("ledger", LedgerEntry("evaluate", quantity, value, unit))
