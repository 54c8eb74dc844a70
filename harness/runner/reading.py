"""What happens to an answer's text after it was made: the readout's steps, in the worker, without a model."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace

from harness.adaptation import Adaptation
from harness.exceptions import PluginError
from harness.plugins import Registry
from harness.rendering import Renderer
from harness.tasks.task import WorkerTask
from harness.tasks.vocabulary import Vocabulary
from harness.types import Prediction, Query


@dataclass(frozen=True)
class QueryView:
    """The concrete `harness.strategy.ReadView`."""

    labels: tuple[str, ...]
    input: str
    vocabulary: Container[str]


class Reading:
    """All answer steps of one adaptation over one task; nothing to do, and nothing built, when it has none."""

    def __init__(self, adaptation: Adaptation, task: WorkerTask, renderer: Renderer, registry: Registry) -> None:
        self.task, self.renderer = task, renderer
        self.vocabulary = Vocabulary(self._texts)
        self.steps = [
            (registry.get("strategy", step.use).create(dict(step.settings)), step) for step in adaptation.readout.steps
        ]

    def __call__(self, prediction: Prediction, query: Query) -> Prediction:
        """The prediction with its parsed text read; the raw text stays."""
        if not self.steps:
            return prediction
        view = QueryView(self.task.labels, self.renderer.input(query), self.vocabulary)
        for strategy, step in self.steps:
            text = strategy.read(prediction, view, step.state)
            if not isinstance(text, str):
                raise PluginError(f"strategy '{step.use}': read returned {type(text).__name__}, not a text.")
            prediction = replace(prediction, parsed=text)
        return prediction

    def _texts(self) -> Iterator[str]:
        for document in self.task.corpus:
            yield document.title
            yield document.text
        for example in (*self.task.train, *self.task.validation):
            yield self.renderer.input(example.query)
            yield from example.references
        yield from map(self.renderer.input, self.task.test)
