"""Continued pretraining: the model reads the corpus before it learns the task (Gururangan et al., 2020)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from harness.adaptation import Adaptation
from harness.strategy import Context, Strategy, TaskFacts
from harness.training.settings import CorpusSettings


class ContinuedPretraining(Strategy):
    """Stands first in a chain such as `["continued_pretraining", "lora"]`."""

    class Config(CorpusSettings):
        lr: float = Field(5e-5, gt=0, description='Peak learning rate; 5e-4 unless set with adapter = "lora".')
        epochs: float = Field(1, gt=0, description="Passes over the documents.")
        tokens_per_batch: int = Field(2048, ge=1, description="Tokens per optimiser step.")
        tokens_per_forward: int = Field(512, ge=1, description="Most tokens per forward pass.")
        adapter: Literal["none", "lora"] = Field("none", description="none: all weights are trained; lora: adapters.")
        r: int = Field(64, ge=1, description='Rank of the adapters with adapter = "lora".')
        alpha: float = Field(128, gt=0, description="Scale of the adapters: alpha / r.")

        @model_validator(mode="after")
        def _adapters_learn_faster(self) -> ContinuedPretraining.Config:
            if self.adapter == "lora" and "lr" not in self.model_fields_set:
                self.lr = 5e-4
            return self

    def check(self, facts: TaskFacts) -> list[str]:
        problems = [] if facts.corpus else ["needs documents to read, but the task has no corpus."]
        if self.config.select_by == "metric":
            problems.append('select_by = "metric" does not apply: documents have a loss only.')
        return problems

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        method: Any = "weights"
        if self.config.adapter == "lora":
            from peft import LoraConfig

            method = LoraConfig(
                task_type="CAUSAL_LM", r=self.config.r, lora_alpha=self.config.alpha, target_modules="all-linear"
            )
        return context.fit_corpus(start, method, self.config)
