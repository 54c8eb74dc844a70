"""Prefix tuning: trained key-values before the prompt, in every layer (Li and Liang, 2021); the weights stay."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.strategy import Context, TrainingStrategy
from harness.training.settings import Prefix, TrainSettings


class PrefixTuning(TrainingStrategy):
    """Starting from the key-values of words takes the place of the paper's reparameterisation."""

    class Config(TrainSettings):
        lr: float = Field(1e-2, gt=0, description="Peak learning rate.")
        epochs: float = Field(5, gt=0, description="Passes over the training examples.")
        tokens: int = Field(16, ge=1, description="Length of the prefix.")
        init: Literal["text", "random"] = Field("text", description="Start from the words of init_text, or at random.")
        init_text: str = Field(
            "Answer the question with a short and exact phrase.",
            min_length=1,
            description="Words whose key-values it starts from, repeated as needed.",
        )

    def method(self, context: Context) -> Prefix:
        return Prefix(self.config.tokens, context.encode(self.config.init_text) if self.config.init == "text" else None)
