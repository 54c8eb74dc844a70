"""What a strategy author subclasses, and all that a strategy may touch.

A strategy maps an adaptation to an adaptation. `Strategy` is the general form; `PromptStrategy` changes what the model
sees, by a `render` that adds to a `Draft`. The engines do the heavy work through the context.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harness.adaptation import Adaptation, Step
from harness.training.settings import ClassifierSettings, CorpusSettings, TrainSettings
from harness.types import Document, Draft, Example, LedgerEntry, Passage, Prediction, Query


@dataclass(frozen=True)
class TaskFacts:
    """What `check` may know before anything is loaded: sizes and kind of the task."""

    train: int
    validation: int
    test: int
    corpus: int
    labels: tuple[str, ...]
    readout: str
    unseen_labels: tuple[str, ...] = ()  # labels without a training example


class RenderView(Protocol):
    """What a prompt strategy may use to render one query. Everything that would leak its answer is left out already."""

    labels: tuple[str, ...]

    def examples(self) -> Sequence[Example]:
        """Training examples that may be shown, in the task's order."""
        ...

    def similar_examples(self, k: int) -> Sequence[Example]:
        """The k training examples most similar to the query that may be shown, most similar first."""
        ...

    def search(self, retriever: Mapping[str, Any], k: int) -> Sequence[Passage]:
        """The k best documents for the query; `retriever` is `{"use": name, settings…}`."""
        ...

    def input(self, query: Query) -> str:
        """The task's input template filled with a query's fields."""
        ...


class ReadView(Protocol):
    """What an answer strategy may know of one query besides the prediction. Gold is not here."""

    labels: tuple[str, ...]
    input: str
    vocabulary: Container[str]  # words, in lower case, of corpus, training examples and inputs


class Context(Protocol):
    """All that a strategy may touch while it adapts. The test split is not here."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    corpus: tuple[Document, ...]
    labels: tuple[str, ...]
    seed: int
    workdir: Path
    tokenizer_folder: str

    def step(self, state: Mapping[str, Any] | None = None) -> Step:
        """A render step that names this strategy and its settings."""
        ...

    def fit(self, start: Adaptation, method: Any, settings: TrainSettings) -> Adaptation:
        """Trains on the prompts that `start` builds. `method`: a peft configuration, or from
        `harness.training.settings` a `Prefix` or `Weights` ("weights" for all of them). Returns `start` with the
        trained delta."""
        ...

    def fit_corpus(self, start: Adaptation, method: Any, settings: CorpusSettings) -> Adaptation:
        """Trains on the corpus' text as it stands, each token from those before it; otherwise as `fit`. Documents that
        state the answer to a validation or test question are left out."""
        ...

    def fit_classifier(self, start: Adaptation, settings: ClassifierSettings) -> Adaptation:
        """Fits a linear classifier of the labels on the hidden states that the model has for the prompts that `start`
        builds. Returns `start` with a readout that answers by it."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """The model's token ids of plain text."""
        ...

    def generate(self, adaptation: Adaptation, queries: Sequence[Query]) -> list[str]:
        """The model's answers under an adaptation, in order."""
        ...

    def search(self, retriever: Mapping[str, Any], texts: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        """Positions of the k best corpus documents with scores, per text."""
        ...

    def ledger(self, entry: LedgerEntry) -> None: ...

    def progress(self, done: int, total: int, note: str = "") -> None: ...


class Strategy:
    """Base class. A nested pydantic `Config` declares settings; an instance of it is `self.config`."""

    def __init__(self, config: Any = None) -> None:
        self.config = config

    @property
    def seeded(self) -> bool:
        """True when another seed can give another result; unseeded arms run once."""
        return True

    def check(self, facts: TaskFacts) -> list[str]:
        """Sentences about what cannot work with this task; called before any model loads."""
        return []

    def plugins(self) -> list[tuple[str, dict[str, Any]]]:
        """Other plugins it uses, as (kind, {"use": name, settings…}): checked with the file, digested in keys."""
        return []

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        raise TypeError(f"{type(self).__name__} must define adapt(start, context)")


class TrainingStrategy(Strategy):
    """A strategy that changes what the model is. Subclasses define `method`; their `Config` extends `TrainSettings`."""

    def check(self, facts: TaskFacts) -> list[str]:
        if self.config.select_by == "metric" and not facts.validation:
            return ['select_by = "metric" needs validation examples; the task has none.']
        return []

    def method(self, context: Context) -> Any:
        """How to train: see `Context.fit`."""
        raise TypeError(f"{type(self).__name__} must define method(context)")

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        return context.fit(start, self.method(context), self.config)


class PromptStrategy(Strategy):
    """A strategy that changes what the model sees. Subclasses define `render`."""

    @property
    def seeded(self) -> bool:
        return False

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        return start.with_step(context.step({"seed": context.seed} if self.seeded else None))

    def render(self, draft: Draft, query: Query, view: RenderView, state: Mapping[str, Any]) -> Draft:
        """The draft with this strategy's part added. Must be a pure function of its arguments and the settings."""
        raise TypeError(f"{type(self).__name__} must define render(draft, query, view, state)")


class AnswerStrategy(Strategy):
    """A strategy that changes an answer's text after it was made. Subclasses define `read`; it stands last in a chain.

    Its spec says `changes="answer"`.
    """

    @property
    def seeded(self) -> bool:
        return False

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        return start.with_answer_step(context.step())

    def read(self, prediction: Prediction, view: ReadView, state: Mapping[str, Any]) -> str:
        """The answer as it shall be judged. Must be a pure function of its arguments and the settings; the raw text
        stays in the prediction."""
        raise TypeError(f"{type(self).__name__} must define read(prediction, view, state)")
