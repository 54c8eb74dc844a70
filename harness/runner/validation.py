"""The task's primary metric on validation examples, while a model is being trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.adaptation import Adaptation
from harness.exceptions import TrialError
from harness.models.engine import Answer, Engine
from harness.models.variant import Variant
from harness.rendering import Renderer
from harness.runner.evaluate import Judge
from harness.runner.predictions import prediction
from harness.types import EvalContext, Example, Preparing


class ValidationMetric:
    """Answers the examples under an adaptation's prompt and readout, with whatever variant it is given."""

    def __init__(
        self,
        judge: Judge,
        engine: Engine,
        renderer: Renderer,
        adaptation: Adaptation,
        examples: Sequence[Example],
        progress: Callable[[int, int], None],
    ) -> None:
        self.judge, self.engine, self.renderer = judge, engine, renderer
        self.adaptation, self.examples, self.progress = adaptation, examples, progress
        self.drafts = [renderer.draft(adaptation, example.query) for example in examples]
        self.prompts = [engine.loaded.chat.encode(renderer.messages(draft)) for draft in self.drafts]

    def __call__(self, variant: Variant) -> float:
        """The metric's aggregate; TrialError where the metric cannot be computed."""
        labels = self.renderer.labels
        done = 0

        def sink(positions: Sequence[int], made: Sequence[Answer]) -> None:
            nonlocal done
            done += len(positions)
            self.progress(done, len(self.prompts))

        answers = self.engine.answer(variant, self.adaptation, self.prompts, labels=labels, sink=sink)
        predictions = []
        for example, draft, prompt, answer in zip(self.examples, self.drafts, self.prompts, answers, strict=True):
            assert answer is not None
            predictions.append(prediction(example.query, draft, prompt.text, answer))
        if isinstance(self.judge.plugin, Preparing):
            self.judge.plugin.prepare(predictions, self.examples)
        records = []
        for example, made in zip(self.examples, predictions, strict=True):
            context = EvalContext(
                readout=self.adaptation.readout.kind,
                labels=labels,
                input=self.renderer.input(example.query),
                max_new_tokens=self.engine.max_new_tokens,
            )
            records.append(self.judge.plugin.record(made, example, context))
        value = self.judge.plugin.aggregate(records)
        if value is None:
            raise TrialError(
                f"metric '{self.judge.id}' cannot be computed on the validation answers.",
                hint='Choose another [task] primary_metric, or select_by = "loss".',
            )
        return float(value)
