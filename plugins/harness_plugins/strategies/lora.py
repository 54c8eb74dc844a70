"""LoRA: low-rank adapters beside the frozen linear layers (Hu et al., 2021), through peft."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from harness.strategy import Context, TrainingStrategy
from harness.training.settings import TrainSettings


class Lora(TrainingStrategy):
    class Config(TrainSettings):
        lr: float = Field(5e-4, gt=0, description="Peak learning rate; about ten times full fine-tuning's.")
        r: int = Field(16, ge=1, description="Rank of the adapters.")
        alpha: float = Field(32, gt=0, description="Scale of the adapters: alpha / r.")
        dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapters' input.")
        target_modules: str | list[str] = Field(
            "all-linear", description='Layers that get an adapter: "all-linear", names, or a regular expression.'
        )
        dora: bool = Field(
            False, description="Trains the weights' magnitude apart from their direction (Liu et al., 2024); slower."
        )
        rslora: bool = Field(False, description="Scales by alpha / √r, so that high ranks learn (Kalajdzievski, 2023).")

    def method(self, context: Context) -> Any:
        from peft import LoraConfig

        return LoraConfig(
            task_type="CAUSAL_LM",
            r=self.config.r,
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            target_modules=self.config.target_modules,
            use_dora=self.config.dora,
            use_rslora=self.config.rslora,
        )
