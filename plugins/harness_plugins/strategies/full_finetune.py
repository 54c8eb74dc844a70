"""Full fine-tuning: every weight of the model is trained."""

from __future__ import annotations

from pydantic import Field

from harness.adaptation import Adaptation
from harness.strategy import Context, Strategy
from harness.training.settings import TrainSettings


class FullFinetune(Strategy):
    class Config(TrainSettings):
        lr: float = Field(5e-5, gt=0, description="Peak learning rate.")
        tokens_per_forward: int = Field(
            512,
            ge=1,
            description="Most tokens per forward pass: small, because the optimiser's state fills the memory.",
        )

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        return context.fit(start, "weights", self.config)
