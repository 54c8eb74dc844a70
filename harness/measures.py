"""What a metric can have measured on the adapted model once a trial's answers are stored: kinds, settings, results.

A metric names the kind in its spec (`MetricSpec.measures`) and its settings by `measurement()`. The worker measures
with the very prompts and the very model that answered; what it finds is stored by trial, item and a digest of kind and
settings, never measured twice, and reaches the metric as `EvalContext.measured`. Its costs are booked under "evaluate"
with names of their own: they are no part of what the arm costs.

- `gold_likelihoods`: how likely the references are as the answer. Per item: `{"references": [{"nats", "tokens",
  "bytes"}, …]}` in the references' order; `nats` is -ln p(reference | prompt), the sum over the reference's tokens. The
  token that ends the turn is left out: it is part of no answer, and a model that would go on talking says nothing about
  how well it knows the reference. Where prompt and reference together exceed the model's window, or the reference has
  no token, `{"reason"}` stands in its place.
- `repeats`: the arm's answers to the same question again, once for each sample and once for each paraphrase of the
  instruction. Per item: `{"answers": [{"text", "finish", "sample"} or {"text", "finish", "instruction"}, …]}`; `text`
  is the parsed answer, read as the arm's own answers are, `sample` and `instruction` count from 0. Where repeating
  cannot change anything no answer is made: samples of a readout that does not sample (the likeliest label), and a
  paraphrase for a prompt that does not contain the instruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.adaptation import digest_of

#: Raised when results of measuring change: then everything is measured again.
VERSION = "1"


class Measure(BaseModel):
    """What all kinds share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int | None = Field(None, ge=1, description="Measure so many items, spread over the test set; unset: all.")

    def chosen(self, items: Sequence[str]) -> list[str]:
        """The items to measure, of all test items in their order: at even distances, since files are often sorted."""
        if self.limit is None or len(items) <= self.limit:
            return list(items)
        return [items[place * len(items) // self.limit] for place in range(self.limit)]


class GoldLikelihoods(Measure):
    """Settings of `gold_likelihoods`."""


class Repeats(Measure):
    """Settings of `repeats`. Sampled texts depend on the trial's seed, the sample's number and the items chosen."""

    samples: int = Field(4, ge=0, le=100, description="Sampled answers to each item.")
    temperature: float = Field(0.7, gt=0, description="Temperature of the samples.")
    instructions: tuple[str, ...] = Field((), description="Paraphrases of the task's instruction; {labels} is filled.")


KINDS: Mapping[str, type[Measure]] = {"gold_likelihoods": GoldLikelihoods, "repeats": Repeats}


def measure_key(kind: str, settings: Measure) -> str:
    """Equal keys: the same would be measured on the same trial."""
    return digest_of([VERSION, kind, settings.model_dump(mode="json")])[:16]


def sample_seed(seed: int, sample: int, part: int) -> int:
    """Seed of one sample of one part of the items, by the trial's seed; at most 2**40, since the engine multiplies."""
    digest: Any = digest_of([seed, sample, part])
    return int(digest[:10], 16)
