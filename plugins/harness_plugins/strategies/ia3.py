"""IA³: trained scales on keys, values and feed-forward activations (Liu et al., 2022), through peft."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from harness.strategy import Context, TrainingStrategy
from harness.training.settings import TrainSettings


class Ia3(TrainingStrategy):
    class Config(TrainSettings):
        lr: float = Field(1e-2, gt=0, description="Peak learning rate; so few numbers need a high one.")
        target_modules: list[str] | None = Field(
            None, description="Layers whose outputs are scaled; unset: keys, values and the feed-forward's last layer."
        )
        feedforward_modules: list[str] = Field(
            default_factory=list, description="Those of target_modules whose inputs are scaled instead."
        )

        @model_validator(mode="after")
        def _feedforward_is_targeted(self) -> Ia3.Config:
            if strange := sorted(set(self.feedforward_modules) - set(self.target_modules or ())):
                raise ValueError(f"feedforward_modules must be among target_modules: {', '.join(strange)}")
            return self

    def method(self, context: Context) -> Any:
        from peft import IA3Config

        targets = self.config.target_modules
        chosen = {"target_modules": targets, "feedforward_modules": self.config.feedforward_modules} if targets else {}
        return IA3Config(task_type="CAUSAL_LM", **chosen)
