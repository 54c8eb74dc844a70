"""What the measurements share: data, machine, timing in turns, peak memory."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch


def say(text: str) -> None:
    """A progress line; the standard output is the JSON object's."""
    print(text, file=sys.stderr, flush=True)


def arguments(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", default=os.environ.get("HARNESS_DATA"), help="folder with the public data sets")
    parser.add_argument("--model", help="model folder (default: the bundled model)")
    parser.add_argument("--quick", action="store_true", help="fewer items and one round")
    parser.add_argument("--rounds", type=int, help="rounds of each side (default 3, with --quick 1)")
    parser.add_argument("--only", action="append", help="only this workload (may be repeated)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "both"), default="both")
    return parser


def load(folder: str | None, dtype: torch.dtype) -> tuple[Any, Any]:
    """Model and tokenizer from a folder, or the bundled model."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if folder is None:
        from harness.models.loading import bundled_model_folder

        folder = str(bundled_model_folder())
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True).eval()
    return model, tokenizer


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def machine() -> dict[str, Any]:
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
    }


def versions(*packages: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


class PeakMemory:
    """Highest resident memory of this process inside a `with`, in bytes: sampled every 20 ms."""

    def __enter__(self) -> PeakMemory:
        self._process, self._stop = psutil.Process(), threading.Event()
        self.before = self.peak = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, self._process.memory_info().rss)


@dataclass
class Side:
    """One side's rounds: `seconds` of model calls, `whole` seconds of the call, the last output, memory peak."""

    seconds: list[float]
    whole: list[float]
    output: Any = None
    peak: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def median_whole(self) -> float:
        return statistics.median(self.whole)


Run = Callable[[], tuple[Any, float]]


def in_turns(ours: Run, peer: Run, rounds: int) -> tuple[Side, Side]:
    """A B A B ...; a run returns its output and the seconds spent in model calls."""
    sides = (Side([], []), Side([], []))
    for _ in range(rounds):
        for side, run in zip(sides, (ours, peer), strict=True):
            with PeakMemory() as memory:
                start = time.perf_counter()
                side.output, seconds = run()
                side.whole.append(time.perf_counter() - start)
            side.seconds.append(seconds)
            side.peak = max(side.peak, memory.peak)
    return sides


class CallTimer:
    """Seconds spent inside the given functions: `timed` wraps one. They must not call one another."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        return call


def finish(result: dict[str, Any]) -> None:
    print(json.dumps(result), flush=True)
