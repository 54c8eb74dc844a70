"""Metrics that want more of the model than its answers: see `measures` in the specs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.types import EvalContext, Example, Prediction, Record
from harness_plugins.metrics.base import FactMetric, MeanMetric, NotComputable, require_measured
from harness_plugins.metrics.text import match_label, normalise, overlap_f1


class GoldPerplexity(FactMetric):
    """Perplexity of the reference (Jelinek et al., 1977) under the arm's adapted model, given the very prompt that the
    arm built for the item: exp of the summed -ln p(token) of all items over their number of tokens, so that long
    references weigh more. 1 is certainty; the number of tokens in the vocabulary is blind guessing. Of several
    references an item's likeliest per token counts. The end of the turn is left out. Records keep nats (-ln p), tokens
    and UTF-8 bytes: nats / (bytes ln 2) is bits per byte, which compares models with different tokenizers. How the
    answer is read plays no part. Where prompt and reference exceed the model's window there is no value."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        limit: int | None = Field(None, ge=1, description="Measure so many items, spread over the test; unset: all.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def measurement(self) -> Mapping[str, Any]:
        return {"limit": self.config.limit}

    def facts(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        found = require_measured(context)["references"]
        if not (known := [reference for reference in found if "reason" not in reference]):
            raise NotComputable(found[0]["reason"] if found else "the item has no reference")
        best = min(known, key=lambda reference: reference["nats"] / reference["tokens"])
        return {name: best[name] for name in ("nats", "tokens", "bytes")}

    def compute(self, records: Sequence[Record]) -> float | None:
        try:
            return math.exp(
                math.fsum(record["nats"] for record in records) / sum(record["tokens"] for record in records)
            )
        except OverflowError:
            return None


class Consistency(MeanMetric):
    """How far the arm agrees with itself: mean agreement over all pairs of its answers to one question (Elazar et al.,
    2021), which are the answer itself, `samples` sampled ones and one for each of `instructions`, paraphrases that take
    the place of the instruction in the arm's prompt. 1 is always the same answer. Two answers agree when they are the
    same label, or else equal after SQuAD's normalisation; in a task without labels `agreement = "token_f1"` counts
    common words instead. Agreement is not correctness: an arm that is always wrong in the same way is at 1. A readout
    that takes the likeliest label does not sample, so only paraphrases count for it; a prompt without the instruction
    has none to paraphrase. Items beyond `limit` have no value."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        samples: int = Field(4, ge=0, le=100, description="Sampled answers to each item.")
        temperature: float = Field(0.7, gt=0, description="Temperature of the samples.")
        instructions: list[str] = Field([], description="Paraphrases of the task's instruction; {labels} is filled.")
        limit: int = Field(100, ge=1, description="Ask about so many items, spread over the test set.")
        agreement: Literal["equal", "token_f1"] = Field("equal", description="How far two texts agree.")

        @model_validator(mode="after")
        def _something(self) -> Self:
            if not self.samples and not self.instructions:
                raise ValueError("nothing to compare: give samples above 0, or instructions")
            return self

    def __init__(self, config: Config) -> None:
        self.config = config

    def measurement(self) -> Mapping[str, Any]:
        return self.config.model_dump(include={"samples", "temperature", "instructions", "limit"})

    def record(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        record = super().record(prediction, example, context)
        return {**record, "answers": len(self._answers(prediction, context))} if "reason" not in record else record

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        answers = self._answers(prediction, context)
        forms = [_form(text, context.labels) for text in answers]
        pairs = len(answers) * (len(answers) - 1) // 2
        if self.config.agreement == "equal" or context.labels:
            return sum(count * (count - 1) // 2 for count in Counter(forms).values()) / pairs
        return math.fsum(overlap_f1(first, second) for first, second in combinations(answers, 2)) / pairs

    @staticmethod
    def _answers(prediction: Prediction, context: EvalContext) -> list[str]:
        """The answer itself and its repetitions, two or more texts."""
        measured = require_measured(context)["answers"]
        if prediction.finish == "overflow":
            raise NotComputable("the prompt does not fit the model's window")
        again = [answer["text"] for answer in measured if answer["finish"] != "overflow"]
        if not again:
            raise NotComputable(
                "repeating changes nothing: this readout does not sample, and no paraphrase of the instruction fits"
            )
        return [prediction.parsed, *again]


def _form(text: str, labels: tuple[str, ...]) -> tuple[str, str]:
    label = match_label(text, labels) if labels else None
    return ("text", normalise(text)) if label is None else ("label", label)
