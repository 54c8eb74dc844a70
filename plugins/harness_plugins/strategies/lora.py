"""LoRA: low-rank adapters beside the frozen linear layers (Hu et al., 2021), through peft."""

from __future__ import annotations

from pydantic import Field

from harness.adaptation import Adaptation
from harness.strategy import Context, Strategy
from harness.training.settings import TrainSettings


class Lora(Strategy):
    class Config(TrainSettings):
        lr: float = Field(5e-4, gt=0, description="Peak learning rate; about ten times full fine-tuning's.")
        r: int = Field(16, ge=1, description="Rank of the adapters.")
        alpha: float = Field(32, gt=0, description="Scale of the adapters: alpha / r.")
        dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapters' input.")
        target_modules: str | list[str] = Field("all-linear", description="Layers that get an adapter.")

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        from peft import LoraConfig

        method = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.config.r,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=self.config.target_modules,
        )
        return context.fit(start, method, self.config)
