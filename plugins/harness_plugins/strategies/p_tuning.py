"""P-tuning: a soft prompt that a small network makes (Liu et al., 2021), through peft; the weights stay."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.strategy import Context, TrainingStrategy
from harness.training.settings import TrainSettings


class PTuning(TrainingStrategy):
    """Only the prompt that the network has made is kept."""

    class Config(TrainSettings):
        lr: float = Field(1e-3, gt=0, description="Peak learning rate.")
        epochs: float = Field(5, gt=0, description="Passes over the training examples.")
        tokens: int = Field(16, ge=1, description="Length of the soft prompt.")
        encoder: Literal["mlp", "lstm"] = Field("mlp", description="Network that makes the prompt.")
        hidden_size: int = Field(256, ge=1, description="Width of the network.")
        dropout: float = Field(0.0, ge=0, lt=1, description="Dropout inside an LSTM.")

    def method(self, context: Context) -> Any:
        from peft import PromptEncoderConfig

        return PromptEncoderConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.config.tokens,
            encoder_reparameterization_type=self.config.encoder.upper(),
            encoder_hidden_size=self.config.hidden_size,
            encoder_dropout=self.config.dropout,
        )
