"""One trial inside the worker: adapt, predict, time the latency; everything it finds goes out through `emit`."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from harness.adaptation import Adaptation, ModelState, Readout
from harness.config import Use
from harness.guard import expect, untouched, watched
from harness.models.engine import Answer, Engine
from harness.models.flops import predict_entry
from harness.models.variant import Variant
from harness.plugins import Registry
from harness.rendering import Renderer
from harness.runner.calibration import bind_readout, calibrate
from harness.runner.context import AdaptContext, Emit
from harness.runner.evaluate import Judge
from harness.runner.meter import Cost, Stopwatch, unknown
from harness.runner.predictions import prediction
from harness.runner.reading import Reading
from harness.tasks.task import WorkerTask
from harness.types import LedgerEntry, Phase, Query

LATENCY_ITEMS = 20


def narrowed(spec: Mapping[str, Any], task: WorkerTask, renderer: Renderer) -> tuple[WorkerTask, Renderer]:
    """The task and renderer as a specification sees them: a candidate answers the validation examples in place of the
    test's; a point of a learning curve knows no training examples but those of its set."""
    if spec["kind"] == "candidate":
        task = replace(task, test=tuple(example.query for example in task.validation))
    if spec.get("train") is not None:
        kept = set(spec["train"])
        task = replace(task, train=tuple(example for example in task.train if example.id in kept))
        renderer = renderer.with_train(task.train)
    return task, renderer


class Trial:
    """Runs one trial specification; phases are separate so that a resumed trial redoes only what is missing."""

    def __init__(
        self,
        spec: Mapping[str, Any],
        *,
        task: WorkerTask,
        engine: Engine,
        renderer: Renderer,
        registry: Registry,
        metric: Judge | None = None,
    ) -> None:
        self.spec, self.task, self.engine, self.renderer, self.registry = spec, task, engine, renderer, registry
        self.metric = metric
        self.seed = int(spec["seed"])
        self.folder = engine.artifacts / spec["adaptation_key"][:24]
        self.watch = Stopwatch(engine.loaded.device)
        self._kept: list[tuple[str, Any]] = []

    def run(self, emit: Emit) -> None:
        entries = [self.registry.get("strategy", use["use"]) for use in self.spec["chain"]]
        arm = ", ".join(entry.label for entry in entries)
        with untouched(arm, "the trial ran", task=self.task):
            self._run(arm, emit)

    def _run(self, arm: str, emit: Emit) -> None:
        adaptation = bind_readout(self.adapt(emit), self.task)
        emit("doing", f"prompts were rendered and answered ({arm})")
        with self.engine.variant(adaptation.model.deltas) as variant:
            adaptation = calibrate(adaptation, variant, self.engine, self.renderer, self.task, emit)
            emit("adaptation", {"adaptation": adaptation.to_json(), "digest": adaptation.digest})
            self.predict(adaptation, variant, emit)
            if self.spec["latency"]:
                self.latency(adaptation, variant, emit)

    # ------------------------------------------------------------------------------------------------ adapt

    def adapt(self, emit: Emit) -> Adaptation:
        """The chain, left to right; or what an earlier run left, with its costs."""
        done = self.folder / "adaptation.json"
        costs = self.folder / "costs.json"
        if done.is_file() and costs.is_file():
            for kind, value in json.loads(costs.read_text(encoding="utf-8")):
                emit(kind, LedgerEntry(**value) if kind == "ledger" else value)
            return Adaptation.load(done)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._kept = []

        def keep(kind: str, value: Any) -> None:
            if kind in ("ledger", "curve", "note", "artifact"):
                self._kept.append((kind, asdict(value) if kind == "ledger" else value))
            emit(kind, value)

        adaptation = Adaptation(ModelState(self.spec["model_digest"]), readout=Readout(self.task.readout))
        phases: dict[Phase, Cost] = {}
        for use in (Use(**use) for use in self.spec["chain"]):
            entry = self.registry.get("strategy", use.use)
            phase: Phase = "train" if getattr(entry.spec, "changes", "prompt") == "model" else "prepare"
            self.watch.start()
            adaptation = self._adapt_one(entry, use, adaptation, keep)
            phases[phase] = phases.get(phase, Cost()) + self.watch.cost()
        for phase, cost in phases.items():
            for row in cost.entries(phase):
                keep("ledger", row)
        for delta in adaptation.model.deltas:
            keep("artifact", {"kind": delta.kind, "path": delta.path, "digest": delta.digest})
        if (readout := adaptation.readout).path:
            keep("artifact", {"kind": readout.kind, "path": readout.path, "digest": readout.settings["digest"]})
        costs.write_text(json.dumps(self._kept), encoding="utf-8")
        adaptation.save(done)  # last: its presence says that the adaptation is whole
        for leftover in self.folder.glob("*.checkpoint"):
            shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink()
        return adaptation

    def _adapt_one(self, entry: Any, use: Use, start: Adaptation, emit: Emit) -> Adaptation:
        random.seed(self.seed)
        context = AdaptContext(
            use=use,
            task=self.task,
            engine=self.engine,
            renderer=self.renderer,
            seed=self.seed,
            workdir=self.folder,
            emit=emit,
            metric=self.metric,
        )
        emit("doing", f"{entry.label} adapted")
        lent: dict[str, Any] = {"adaptation": start, "training examples": self.task.train, "corpus": self.task.corpus}
        with watched(entry.label, "adapting", **lent, validation_examples=self.task.validation):
            result = entry.create(use.settings).adapt(start, context)
        adaptation: Adaptation = expect(entry.label, "adapting", result, Adaptation)
        return adaptation

    # ---------------------------------------------------------------------------------------------- predict

    def predict(self, adaptation: Adaptation, variant: Variant, emit: Emit) -> None:
        """Answers all test queries that are not stored yet; whole batches, so that results do not depend on when a
        run was interrupted."""
        queries = self.task.test
        done = set(self.spec["done_items"])
        self.watch.start()
        read = Reading(adaptation, self.task, self.renderer, self.registry)
        drafts = [self.renderer.draft(adaptation, query) for query in queries]
        prompts = [self.engine.loaded.chat.encode(self.renderer.messages(draft)) for draft in drafts]
        answered, tokens = len(done), [0, 0]
        emit("progress", {"phase": "predict", "done": answered, "total": len(queries), "note": ""})

        def sink(positions: Sequence[int], answers: Sequence[Answer]) -> None:
            nonlocal answered
            answered = min(len(queries), answered + len(positions))
            tokens[0] += sum(answer.tokens_in for answer in answers)
            tokens[1] += sum(answer.tokens_out for answer in answers)
            records = [
                read(prediction(queries[position], drafts[position], prompts[position].text, answer), queries[position])
                for position, answer in zip(positions, answers, strict=True)
            ]
            emit("predictions", {"positions": list(positions), "predictions": [asdict(record) for record in records]})
            emit("progress", {"phase": "predict", "done": answered, "total": len(queries), "note": ""})

        self.engine.answer(
            variant,
            adaptation,
            prompts,
            labels=self.task.labels,
            seed=self.seed,
            skip=(lambda positions: all(queries[position].id in done for position in positions)) if done else None,
            sink=sink,
        )
        cost = self.watch.cost()
        if done:  # a resumed trial: what the earlier part took is lost, so the whole is unknown
            rows = [LedgerEntry("predict", "wall_s", None, "s", "unknown"), *unknown("predict"), cost.peak("predict")]
        else:
            flops = predict_entry(self.engine.loaded.model.config, tokens[0], tokens[1], len(queries))
            rows = [*cost.entries("predict"), flops]
        for row in rows:
            emit("ledger", row)

    def latency(self, adaptation: Adaptation, variant: Variant, emit: Emit) -> None:
        """Seconds per request: one at a time, warm, retrieval included, on items spread over the test set."""
        queries = self.task.test
        step = max(1, len(queries) // LATENCY_ITEMS)
        chosen = queries[::step][:LATENCY_ITEMS]
        emit("progress", {"phase": "latency", "done": 0, "total": len(chosen), "note": ""})
        read = Reading(adaptation, self.task, self.renderer, self.registry)
        self._answer_one(chosen[0], adaptation, variant, read)  # warm up
        for index in self.renderer.indexes.built.values():
            index.memory.clear()  # remembered searches would hide the cost of retrieval
        timed = []
        for number, query in enumerate(chosen, 1):
            started = time.perf_counter()
            self._answer_one(query, adaptation, variant, read)
            timed.append({"item_id": query.id, "seconds": time.perf_counter() - started})
            emit("progress", {"phase": "latency", "done": number, "total": len(chosen), "note": ""})
        emit("latencies", timed)

    def _answer_one(self, query: Query, adaptation: Adaptation, variant: Variant, read: Reading) -> None:
        draft = self.renderer.draft(adaptation, query)
        prompt = self.engine.loaded.chat.encode(self.renderer.messages(draft))
        (answer,) = self.engine.answer(variant, adaptation, [prompt], labels=self.task.labels, seed=self.seed)
        if answer is not None:
            read(prediction(query, draft, prompt.text, answer), query)
