"""Error categories of answers that were given with passages: was it the search or the model?"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from harness.types import ErrorLabel, EvalContext, Example, Prediction
from harness_plugins.errors.judge import Limits, judge
from harness_plugins.errors.refusals import refusal
from harness_plugins.metrics.text import contains, normalise

STEM = 6  # letters by which words are compared: an ending makes no difference


class Grounding:
    """Looks at wrong answers that had passages, outside label tasks (no passage says "refund"). *retrieval_miss*: no
    passage contains a reference as whole words, and none is a document known to state it. *unsupported* (a surface sign
    of hallucination): the passages had the answer, yet of the longer words and numbers that the answer adds to the
    question less than `supported_share` stand in passages or titles. Says nothing about any other answer."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        supported_share: float = Field(0.5, gt=0, le=1, description="Supported: this share of the answer's words.")
        word_length: int = Field(4, ge=1, description="Words from this length on are looked for, and all numbers.")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.limits = Limits()

    def classify(self, prediction: Prediction, example: Example, context: EvalContext) -> Sequence[ErrorLabel]:
        if not prediction.passages or not example.references or context.labels:
            return []
        if prediction.finish not in ("stop", "length"):
            return []
        judged = judge(prediction, example, context, self.limits)
        if judged.contained:
            return []
        shown = [f"{passage.title}\n{passage.text}" for passage in prediction.passages]
        known = {passage.document_id for passage in prediction.passages} & set(example.evidence)
        if not known and not any(contains(text, gold) for text in shown for gold in example.references):
            return [ErrorLabel("retrieval_miss", f"not in {len(shown)} passages")]
        return [] if refusal(prediction.parsed) else self._unsupported(prediction.parsed, shown, context.input)

    def _unsupported(self, text: str, shown: Sequence[str], question: str) -> list[ErrorLabel]:
        asked = set(normalise(question).split())
        words = [
            word
            for word in normalise(text).split()
            if (len(word) >= self.config.word_length or word[0].isdecimal()) and word not in asked
        ]
        if not words:
            return []
        known = {word[:STEM] for source in shown for word in normalise(source).split()}
        foreign = [word for word in words if word[:STEM] not in known]
        if len(words) - len(foreign) >= self.config.supported_share * len(words):
            return []
        return [ErrorLabel("unsupported", f"{len(foreign)} of {len(words)} words not shown, e.g. {foreign[0][:40]!r}")]
