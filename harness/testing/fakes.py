"""A model and a context that compute nothing: what a strategy may touch, and nothing else, in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.adaptation import Adaptation, Delta, Readout, Step, digest_of
from harness.config import Use
from harness.plugins import Registry
from harness.rendering import Indexes, Renderer
from harness.testing.promise import Broken
from harness.testing.tiny import TinyTask
from harness.types import Example, LedgerEntry, Message, Query


def renderer_for(task: TinyTask, registry: Registry) -> Renderer:
    """The harness's own renderer over a tiny task: leave-one-out is the real one."""
    return Renderer(
        registry,
        input_template=task.input,
        instruction=task.instruction,
        train=task.train,
        exclusions=task.exclusions,
        indexes=Indexes(registry, task.corpus),
        labels=task.labels,
    )


class FakeModel:
    """Answers by a rule: by default the last word of the last message, so that the prompt matters. `asked` keeps what
    it was shown."""

    def __init__(self, rule: Callable[[Sequence[Message]], str] | None = None) -> None:
        self.rule = rule or (lambda messages: (messages[-1].content.split() or [""])[-1])
        self.asked: list[tuple[Message, ...]] = []

    def answer(self, messages: Sequence[Message]) -> str:
        self.asked.append(tuple(messages))
        return self.rule(messages)


class FakeContext:
    """`harness.Context` over a tiny task and a fake model. Anything else that a strategy reaches for is refused.

    `booked`: the ledger entries; `fitted`: one entry for each call of `fit`.
    """

    def __init__(
        self,
        use: Use,
        task: TinyTask,
        registry: Registry,
        workdir: Path,
        *,
        seed: int = 0,
        model: FakeModel | None = None,
    ) -> None:
        self.train, self.validation, self.corpus = task.train, task.validation, task.corpus
        self.labels, self.seed, self.workdir = task.labels, seed, workdir
        self.tokenizer_folder = "fake-tokenizer"
        self.model = model or FakeModel()
        self.booked: list[LedgerEntry] = []
        self.fitted: list[dict[str, Any]] = []
        self._use, self._registry, self._renderer = use, registry, renderer_for(task, registry)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Broken(f"reaches for context.{name}, which strategies do not have.")

    def step(self, state: Mapping[str, Any] | None = None) -> Step:
        return Step(self._use.use, self._use.settings, dict(state or {}))

    def ledger(self, entry: LedgerEntry) -> None:
        self.booked.append(entry)

    def progress(self, done: int, total: int, note: str = "") -> None:
        if not 0 <= done <= total:
            raise Broken(f"reports progress {done} of {total}.")

    def search(self, retriever: Mapping[str, Any], texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        return self._renderer.indexes.get(retriever).search(texts, k)

    def generate(self, adaptation: Adaptation, queries: Sequence[Query]) -> list[str]:
        prompts = [self._messages(adaptation, query) for query in queries]
        answers = [self.model.answer(prompt) for prompt in prompts]
        words = sum(len(message.content.split()) for prompt in prompts for message in prompt)
        self.ledger(LedgerEntry("prepare", "tokens_in", float(words), "tokens"))
        self.ledger(LedgerEntry("prepare", "tokens_out", float(sum(len(a.split()) for a in answers)), "tokens"))
        return answers

    def fit(self, start: Adaptation, method: Any, settings: Any, **options: Any) -> Adaptation:
        """A delta whose digest depends on what real training depends on: method, settings, seed, prompts, targets."""
        if not self.train:
            raise Broken("trains without examples; its spec should say needs=('train',).")
        return self._trained(start, method, settings, self._shown(start))

    def fit_corpus(self, start: Adaptation, method: Any, settings: Any) -> Adaptation:
        if not self.corpus:
            raise Broken("trains on a corpus that is not there; its spec should say needs=('corpus',).")
        return self._trained(start, method, settings, [[document.title, document.text] for document in self.corpus])

    def fit_classifier(self, start: Adaptation, settings: Any) -> Adaptation:
        """A readout whose digest depends on what the real one depends on: settings, prompts, labels."""
        if not self.labels:
            raise Broken("fits a classifier without labels; its spec should say needs=('labels',).")
        shown = self._shown(start)
        given = {"settings": settings.model_dump(mode="json"), "labels": list(self.labels), "shown": shown}
        self.fitted.append(given)
        self.ledger(LedgerEntry("prepare", "tokens_in", float(sum(len(pair[0].split()) for pair in shown)), "tokens"))
        return start.with_readout(Readout("classify", {"digest": digest_of(given)}))

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(len(word) for word in text.split())

    def _shown(self, start: Adaptation) -> list[list[str]]:
        """Prompts and targets of the training examples."""
        return [[self._flat(start, example), example.references[0]] for example in self.train]

    def _trained(self, start: Adaptation, method: Any, settings: Any, shown: list[list[str]]) -> Adaptation:
        plain = method if isinstance(method, str) else {"type": type(method).__name__, "settings": repr(method)}
        given = {"method": plain, "settings": settings.model_dump(mode="json"), "seed": self.seed, "shown": shown}
        self.fitted.append(given)
        spec: Any = self._registry.get("strategy", self._use.use).spec
        folder = self.workdir / self._use.id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "fake.json").write_text(json.dumps(given), encoding="utf-8")
        tokens = float(sum(len(prompt.split()) + len(target.split()) for prompt, target in shown))
        self.ledger(LedgerEntry("train", "trained_tokens", tokens, "tokens"))
        delta = Delta(spec.delta or "peft", digest_of(given), f"{self.workdir.name}/{self._use.id}", self._use.settings)
        return start.with_delta(delta)

    def _messages(self, adaptation: Adaptation, query: Query) -> list[Message]:
        return self._renderer.messages(self._renderer.draft(adaptation, query))

    def _flat(self, adaptation: Adaptation, example: Example) -> str:
        return flat(self._messages(adaptation, example.query))


def flat(messages: Sequence[Message]) -> str:
    """A prompt as one text."""
    return "\n".join(f"{message.role}: {message.content}" for message in messages)
