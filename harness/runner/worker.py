"""The worker process: loads the base once, runs trials that arrive over a pipe, sends JSON-able records back.

It never opens the database. Messages are (kind, value) pairs; the last of a trial is "done" or "failed".
"""

from __future__ import annotations

import json
import os
import signal
import traceback
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


def main(connection: Connection, setup: Mapping[str, Any]) -> None:
    """Entry point of the spawned process. `setup` is the same for all trials of a run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars would tear our own display
    # oneDNN keeps compiled kernels for each shape it meets, and every batch has another token count: its default of
    # 1,024 kernels costs 0.4 GiB in a full fine-tuning; with fewer than 100 a step of one no longer finds its own.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")
    if not setup["online"]:
        os.environ["HF_HUB_OFFLINE"] = "1"

    def emit(kind: str, value: Any) -> None:
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        connection.send_bytes(json.dumps([kind, value], ensure_ascii=False).encode())

    try:
        host = _Host(setup)
        emit("ready", host.facts)
    except BaseException as error:
        emit("broken", _described(error))
        return
    while True:
        try:
            spec = json.loads(connection.recv_bytes())
        except EOFError:
            return
        if spec is None:
            return
        try:
            host.run(spec, emit)
            emit("done", {})
        except Exception as error:
            emit("failed", _described(error))


def _described(error: BaseException) -> dict[str, str]:
    from harness.exceptions import HarnessError

    message = str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"
    return {"error": message, "detail": "".join(traceback.format_exception(error))}


class _Host:
    """Everything that trials share: model, task, indexes."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        import torch

        from harness.config import Use
        from harness.criteria import reload_own
        from harness.local_plugins import reload_local_plugins
        from harness.models.engine import Engine
        from harness.models.loading import load_model
        from harness.models.requests import Decoding
        from harness.models.source import ModelSource
        from harness.plugins import load_plugins
        from harness.rendering import Indexes, Renderer
        from harness.runner.evaluate import judges
        from harness.tasks.task import read_worker_task

        torch.set_num_threads(setup["threads"])
        self.registry = load_plugins()
        reload_local_plugins(self.registry, setup["folder"], setup["local"])
        reload_own(setup["folder"], setup["primary_metric"]["settings"])
        self.task = read_worker_task(Path(setup["task_file"]))
        loaded = load_model(ModelSource(**setup["source"]), device=setup["device"], dtype=setup["dtype"])
        generation = setup["generation"]
        decoding = Decoding(
            generation["temperature"], generation["top_p"], tuple(generation["stop"]), loaded.chat.end_ids
        )
        self.metric = judges("metric", [Use(**setup["primary_metric"])], self.registry)[0]
        self.engine = Engine(loaded, Path(setup["artifacts"]), decoding, generation["max_new_tokens"])
        self.renderer = Renderer(
            self.registry,
            input_template=setup["input"],
            instruction=setup["instruction"],
            train=self.task.train,
            exclusions=self.task.exclusions,
            indexes=Indexes(self.registry, self.task.corpus),
            labels=self.task.labels,
        )
        self.facts = {
            "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
            "notes": [*loaded.notes, *([self.engine.plain] if self.engine.plain else [])],
            "threads": torch.get_num_threads(),
        }

    def run(self, spec: Mapping[str, Any], emit: Any) -> None:
        from harness.runner import benchmarks
        from harness.runner.measure import measure
        from harness.runner.trial import Trial, narrowed

        if spec["kind"] == "benchmark":
            benchmarks.measure(spec, self.engine, self.registry, emit)
            return
        task, renderer = narrowed(spec, self.task, self.renderer)
        if spec["kind"] == "measure":
            measure(spec, task=task, engine=self.engine, renderer=renderer, registry=self.registry, emit=emit)
            return
        Trial(spec, task=task, engine=self.engine, renderer=renderer, registry=self.registry, metric=self.metric).run(
            emit
        )
