"""What a strategy gets in its hands while it adapts: the concrete `harness.strategy.Context`, inside the worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.adaptation import Adaptation, Readout, Step
from harness.config import Use
from harness.exceptions import TrialError
from harness.models.chat import Encoded
from harness.models.engine import Engine
from harness.models.requests import TrainSequence
from harness.rendering import Renderer
from harness.runner.evaluate import Judge
from harness.tasks.task import WorkerTask
from harness.training.settings import ClassifierSettings, CorpusSettings, TrainSettings
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
    metric: Judge | None = None  # the task's primary metric

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
        given = [answer for answer in answers if answer is not None]
        for quantity in ("tokens_in", "tokens_out"):  # asking the model while adapting is part of what the arm costs
            total = float(sum(getattr(answer, quantity) for answer in given))
            self.ledger(LedgerEntry("prepare", quantity, total, "tokens"))
        return [answer.text if answer is not None else "" for answer in answers]

    def sequences(self, adaptation: Adaptation, examples: Sequence[Example]) -> list[TrainSequence]:
        """Examples as the model will see them: the chain's own prompt, and the first reference as the reply."""
        chat = self.engine.loaded.chat
        result = []
        for example in examples:
            prompt = chat.encode(self.renderer.messages(self.renderer.draft(adaptation, example.query)))
            result.append(TrainSequence(prompt.ids, chat.encode_reply(example.references[0])))
        return result

    def encode(self, text: str) -> tuple[int, ...]:
        return self.engine.loaded.chat.encode_text(text)

    def fit(self, start: Adaptation, method: Any, settings: TrainSettings) -> Adaptation:
        from harness.runner.fitting import train_delta

        data = self.sequences(start, self.train), self.sequences(start, self.validation)
        return train_delta(self, start, method, settings, data, self._judge(start, settings))

    def _judge(self, start: Adaptation, settings: TrainSettings) -> Any:
        """The primary metric on validation examples, where the settings select by it."""
        from harness.runner.validation import ValidationMetric
        from harness.training.loop import Judge

        if settings.select_by == "loss":
            return None
        examples = self.validation[: settings.metric_limit]
        if self.metric is None or not examples:
            raise TrialError(
                'select_by = "metric" needs a metric and validation examples.', hint='Use select_by = "loss".'
            )
        # As the test will be read, but for calibration: what the prompt alone says changes with every step.
        read = start
        if start.readout == Readout(self.task.readout):
            read = start.with_readout(Readout(self.task.readout, self.task.readout_options))
        value = ValidationMetric(self.metric, self.engine, self.renderer, read, examples, self._validating)
        return Judge(value, self.metric.spec.higher_is_better)

    def _validating(self, done: int, total: int) -> None:
        phase = f"{self.use.id}, validation"
        self.emit("progress", {"phase": phase, "done": done, "total": total, "note": ""})

    def fit_corpus(self, start: Adaptation, method: Any, settings: CorpusSettings) -> Adaptation:
        from harness.runner.fitting import train_delta
        from harness.training.corpus import blocks, document_text, split_documents

        unseen = {query.id for query in self.task.test} | {example.id for example in self.validation}
        documents = [document for document in self.corpus if not unseen.intersection(document.examples)]
        if len(documents) < len(self.corpus):
            left_out = len(self.corpus) - len(documents)
            self.emit(
                "note", f"{self.use.id}: {left_out} documents that answer validation or test questions are left out."
            )
        if not documents:
            raise TrialError("no document is left to train on.", hint="The corpus answers the test's own questions.")
        loaded = self.engine.loaded
        limits = (settings.block_length, settings.max_length, loaded.window)
        length = min(limit for limit in limits if limit is not None)
        train, held_out = (
            blocks(
                [loaded.chat.encode_text(document_text(document)) for document in part], loaded.chat.end_ids[-1], length
            )
            for part in split_documents(documents, settings.held_out, self.seed)
        )
        return train_delta(self, start, method, settings, (train, held_out))

    def fit_classifier(self, start: Adaptation, settings: ClassifierSettings) -> Adaptation:
        from harness.runner.fitting import train_classifier

        def encoded(examples: Sequence[Example]) -> list[Encoded]:
            drafts = [self.renderer.draft(start, example.query) for example in examples]
            return [self.engine.loaded.chat.encode(self.renderer.messages(draft)) for draft in drafts]

        return train_classifier(self, start, settings, (encoded(self.train), encoded(self.validation)))
