"""What a strategy gets in its hands while it adapts: the concrete `harness.strategy.Context`, inside the worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.adaptation import Adaptation, Delta, Step
from harness.config import Use
from harness.exceptions import TrialError
from harness.models.engine import Engine
from harness.models.requests import TrainSequence
from harness.rendering import Renderer
from harness.tasks.task import WorkerTask
from harness.types import Example, LedgerEntry, Query

Emit = Callable[[str, Any], None]


@dataclass
class AdaptContext:
    """One strategy's view of the world; `use` is the chain's entry that is running."""

    use: Use
    task: WorkerTask
    engine: Engine
    renderer: Renderer
    seed: int
    workdir: Path  # this trial's artifacts folder; its name is the first part of every delta's path
    emit: Emit

    def __post_init__(self) -> None:
        self.train, self.validation = self.task.train, self.task.validation
        self.corpus, self.labels = self.task.corpus, self.task.labels
        self.tokenizer_folder = self.engine.loaded.folder

    def step(self, state: Mapping[str, Any] | None = None) -> Step:
        return Step(self.use.use, self.use.settings, dict(state or {}))

    def ledger(self, entry: LedgerEntry) -> None:
        self.emit("ledger", entry)

    def progress(self, done: int, total: int, note: str = "") -> None:
        self.emit("progress", {"phase": self.use.id, "done": done, "total": total, "note": note})

    def search(self, retriever: Mapping[str, Any], texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        return self.renderer.indexes.get(retriever).search(texts, k)

    def generate(self, adaptation: Adaptation, queries: Sequence[Query]) -> list[str]:
        chat = self.engine.loaded.chat
        prompts = [chat.encode(self.renderer.messages(self.renderer.draft(adaptation, query))) for query in queries]
        with self.engine.variant(adaptation.model.deltas) as variant:
            answers = self.engine.answer(variant, adaptation, prompts, labels=self.labels, seed=self.seed)
        return [answer.text if answer is not None else "" for answer in answers]

    def sequences(self, adaptation: Adaptation, examples: Sequence[Example]) -> list[TrainSequence]:
        """Examples as the model will see them: the chain's own prompt, and the first reference as the reply."""
        chat = self.engine.loaded.chat
        result = []
        for example in examples:
            prompt = chat.encode(self.renderer.messages(self.renderer.draft(adaptation, example.query)))
            result.append(TrainSequence(prompt.ids, chat.encode_reply(example.references[0])))
        return result

    def fit(self, start: Adaptation, method: Any, settings: Any) -> Adaptation:
        from harness.models.flops import train_entry
        from harness.training.deltas import applied, save_delta
        from harness.training.loop import fit
        from harness.training.trainable import trainable_for

        train, validation = self.sequences(start, self.train), self.sequences(start, self.validation)
        if not train:
            raise TrialError("there are no training examples to learn from.")
        engine, folder = self.engine, self.workdir / self.use.id
        base = [(delta.kind, engine.artifacts / delta.path) for delta in start.model.deltas]
        with applied(engine.loaded.model, base) as variant:
            # One copy of the weights less: a worker that trained them is not used for another arm.
            trainable = trainable_for(variant, method, seed=self.seed, keep_original=False)
            try:
                result = fit(
                    trainable,
                    train,
                    validation,
                    settings,
                    seed=self.seed,
                    checkpoint=self.workdir / f"{self.use.id}.checkpoint",
                    on_step=lambda info: self.emit(
                        "progress",
                        {
                            "phase": self.use.id,
                            "done": info.step,
                            "total": info.total_steps,
                            "note": f"loss {info.loss:.3f} · {info.tokens_per_s:,.0f} tokens/s",
                        },
                    ),
                )
                saved = save_delta(trainable, folder)
            finally:
                trainable.close()
        self._book(result, saved)
        config, sequences = engine.loaded.model.config, result.epochs * len(train)
        self.ledger(train_entry(config, result.seen_tokens, sequences, saved["kind"]))
        delta = Delta(saved["kind"], saved["digest"], f"{self.workdir.name}/{self.use.id}", self.use.settings)
        return start.with_delta(delta)

    def _book(self, result: Any, saved: Mapping[str, Any]) -> None:
        for quantity, value, unit in (
            ("trained_tokens", result.trained_tokens, "tokens"),
            ("seen_tokens", result.seen_tokens, "tokens"),
            ("steps", result.steps, "steps"),
            ("trainable_parameters", saved["trainable_parameters"], "parameters"),
            ("artifact_bytes", saved["bytes"], "bytes"),
        ):
            self.ledger(LedgerEntry("train", quantity, float(value), unit))
        for series, points in (
            ("loss", result.losses),
            ("learning_rate", result.learning_rates),
            ("validation_loss", result.validation_losses),
        ):
            if points:
                self.emit("curve", {"series": f"{self.use.id}/{series}", "points": [list(point) for point in points]})
        for note in result.notes:
            self.emit("note", f"{self.use.id}: {note}")
        if result.truncated:
            self.emit("note", f"{self.use.id}: {result.truncated} training sequences were truncated to fit.")
