"""Prompt tuning: trained embeddings before the prompt (Lester et al., 2021), through peft; the weights stay."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.adaptation import Adaptation
from harness.strategy import Context, Strategy
from harness.training.settings import TrainSettings


class PromptTuning(Strategy):
    class Config(TrainSettings):
        lr: float = Field(1e-2, gt=0, description="Peak learning rate; soft prompts need a high one.")
        epochs: float = Field(5, gt=0, description="Passes over the training examples.")
        tokens: int = Field(16, ge=1, description="Length of the soft prompt.")
        init: Literal["random", "text"] = Field("text", description="Start from random vectors, or from words.")
        init_text: str = Field(
            "Answer the question with a short and exact phrase.", description="Words whose embeddings it starts from."
        )

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        from peft import PromptTuningConfig, PromptTuningInit

        text = self.config.init == "text"
        method = PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.config.tokens,
            prompt_tuning_init=PromptTuningInit.TEXT if text else PromptTuningInit.RANDOM,
            prompt_tuning_init_text=self.config.init_text if text else None,
            tokenizer_name_or_path=context.tokenizer_folder if text else None,
        )
        return context.fit(start, method, self.config)
