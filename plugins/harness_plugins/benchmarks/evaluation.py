"""One task through lm-eval, quietly: no progress bars, no caches, no calls to git, random generators left as found."""

from __future__ import annotations

import functools
import logging
import math
import random
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.types import BenchmarkItem
from harness_plugins.benchmarks.catalogue import Leaf

_LOCAL = "custom_dataset: !function harness_plugins.benchmarks.local_data.load\n"

Outcome = list[tuple[str, bool, float | None, tuple[BenchmarkItem, ...]]]


def evaluate(lm: Any, leaf: Leaf, changes: Mapping[str, Any], limit: int | None, seed: int, shot_seed: int) -> Outcome:
    """(metric, higher is better, value, items) for each metric of a task, in the task's order.

    lm-eval's `evaluate` is called, not `simple_evaluate`: on the same task objects it gives the same numbers, and the
    latter also asks git and pip about the machine (seconds, subprocesses).
    """
    import lm_eval.evaluator

    files = (changes.get("dataset_kwargs") or {}).get("files", {}).values()
    marks = tuple((path, Path(path).stat().st_mtime_ns) for path in files if Path(path).is_file())
    with _quiet(), random_state_kept():
        _seed(seed, shot_seed)
        task = _task(_task_file(leaf, changes), leaf.name, marks)
        task.set_fewshot_seed(seed=shot_seed)
        loaded: Any = {"tasks": {leaf.name: task}, "groups": {}, "group_map": {}}
        results = lm_eval.evaluator.evaluate(lm, task_dict=loaded, limit=limit, bootstrap_iters=0, log_samples=True)
        task._instances = None  # its requests; they are made anew by every run
    return _outcome(results, leaf.name)


@functools.lru_cache(maxsize=128)
def _task(text: str, name: str, marks: tuple[tuple[str, int], ...]) -> Any:
    """lm-eval's task object, kept for the next arm: preparing the items of HellaSwag takes seconds. `marks` are the
    data files and their times of change."""
    from lm_eval.tasks import TaskManager

    with tempfile.TemporaryDirectory(prefix="harness-benchmark-") as folder:
        (Path(folder) / "task.yaml").write_text(text, encoding="utf-8")
        # A folder of our own, so that lm-eval reads one file instead of 14,000.
        task = TaskManager(include_path=folder, include_defaults=False).load([name])["tasks"][name]
    for docs in ("test_docs", "validation_docs"):  # lm-eval prepares all items anew each time it looks at them
        setattr(task, docs, functools.cache(getattr(task, docs)))
    return task


def _task_file(leaf: Leaf, changes: Mapping[str, Any]) -> str:
    import yaml

    local = "files" in (changes.get("dataset_kwargs") or {})
    text = yaml.safe_dump({"include": str(leaf.path), **changes}, allow_unicode=True, sort_keys=False)
    return text + (_LOCAL if local else "")


def _outcome(results: Mapping[str, Any], name: str) -> Outcome:
    values = {
        key: value
        for key, value in results["results"][name].items()
        if "," in key and not key.split(",")[0].endswith("_stderr")
    }
    samples = results["samples"][name]
    directions = results["higher_is_better"].get(name, {})
    filters = {key.split(",", 1)[1] for key in values}
    found: Outcome = []
    for key, value in values.items():
        metric, _, chosen = key.partition(",")
        items = tuple(
            BenchmarkItem(str(sample["doc_id"]), _number(sample[metric]))
            for sample in samples
            if sample["filter"] == chosen and metric in sample
        )
        label = metric if len(filters) == 1 else key
        found.append((label, bool(directions.get(metric, True)), _number(value), items))
    return found


def _number(value: Any) -> float | None:
    """A finite number, or None: unknown is never NaN."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _seed(seed: int, shot_seed: int) -> None:
    """Generators as lm-eval's command line sets them: tasks that draw items see the same draw for every arm. `seed`
    reaches torch only, which no task draws items with."""
    import numpy
    import torch

    random.seed(0)
    numpy.random.seed(shot_seed)
    torch.manual_seed(seed)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Python's, numpy's and torch's global random generators are put back."""
    import numpy
    import torch

    python, arrays, tensors = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)
        numpy.random.set_state(arrays)
        torch.set_rng_state(tensors)
        if devices is not None:
            torch.cuda.set_rng_state_all(devices)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no notices of lm-eval and datasets, which would tear our own progress display."""
    import datasets
    import lm_eval.api.task

    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    levels = [logger.level for logger in loggers]
    bars = datasets.is_progress_bar_enabled()
    module: Any = lm_eval.api.task
    tqdm = getattr(module, "tqdm", None)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    if tqdm is not None:
        module.tqdm = lambda items, *_, **__: items
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()
        if tqdm is not None:
            module.tqdm = tqdm
