"""The worker of a run: started when it is first needed, renewed when it has died or trained weights, asked one
specification at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.exceptions import HarnessError
from harness.runner.prepare import Prepared
from harness.runner.process import WorkerProcess
from harness.tasks.task import write_worker_task

#: Takes one message (kind, value); returns the seconds that it spent on evaluation.
Take = Callable[[str, Any], float]


class Workers:
    """Use as a context manager: at its end the worker is closed and its files are removed."""

    def __init__(self, prepared: Prepared, artifacts: Path, online: bool, note: Callable[[str], None]) -> None:
        self.prepared, self.artifacts, self.online, self.note = prepared, artifacts, online, note
        self.scratch = Path(tempfile.mkdtemp(prefix="harness-"))
        self.worker: WorkerProcess | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close(force=kind is not None)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def ask(self, spec: Mapping[str, Any], take: Take) -> tuple[str, str, float]:
        """Sends a specification and hands what comes back to `take`: (error or nothing, its traceback, seconds spent
        on evaluation)."""
        evaluate_s = 0.0
        limits = self.prepared.experiment.run
        try:
            worker = self._ready()
            for kind, value in worker.run(spec, limit_s=limits.trial_limit_s, silence_s=limits.silence_limit_s):
                if kind == "failed":
                    return value["error"] or "failed without a message", value.get("detail", ""), evaluate_s
                if kind != "done":
                    evaluate_s += take(kind, value)
        except HarnessError as error:  # a plugin's metric, or a worker that could not start
            self.close(force=True)
            return str(error), "".join(traceback.format_exception(error)), evaluate_s
        return "", "", evaluate_s

    def close(self, *, force: bool = False) -> None:
        if self.worker is not None:
            self.worker.close(force=force)
            self.worker = None

    def _ready(self) -> WorkerProcess:
        if self.worker is None:
            task_file = self.scratch / "task.json"
            if not task_file.exists():
                write_worker_task(self.prepared.task, task_file)
            self.worker = WorkerProcess(self._setup(task_file))
            facts = self.worker.wait_ready()
            for note in facts["notes"]:
                self.note(f"note: {note}")
        return self.worker

    def _setup(self, task_file: Path) -> dict[str, Any]:
        prepared, experiment = self.prepared, self.prepared.experiment
        primary = next(use for use in experiment.metrics if use.id == experiment.primary_metric)
        return {
            "task_file": str(task_file),
            "source": asdict(prepared.source),
            "device": prepared.plan.device,
            "dtype": prepared.plan.dtype,
            "generation": experiment.generation.model_dump(),
            "primary_metric": asdict(primary),
            "input": experiment.task.input,
            "instruction": experiment.task.instruction,
            "artifacts": str(self.artifacts.resolve()),
            "threads": _threads(),
            "online": self.online,
            "folder": experiment.folder,
            "local": dict(prepared.local),
        }


def _threads() -> int:
    """One for each core that this process may use; OMP_NUM_THREADS says otherwise, as in torch itself."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
