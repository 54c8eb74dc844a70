"""Prompt tuning: trained embeddings before the prompt (Lester et al., 2021), through peft; the weights stay."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.strategy import Context, TrainingStrategy
from harness.training.settings import TrainSettings

INITS = {"random": "RANDOM", "text": "TEXT", "vocabulary": "SAMPLE_VOCAB"}


class PromptTuning(TrainingStrategy):
    class Config(TrainSettings):
        lr: float = Field(1e-2, gt=0, description="Peak learning rate; soft prompts need a high one.")
        epochs: float = Field(5, gt=0, description="Passes over the training examples.")
        tokens: int = Field(16, ge=1, description="Length of the soft prompt.")
        init: Literal["random", "text", "vocabulary"] = Field(
            "text", description="Start from random vectors, from the words of init_text, or from random words."
        )
        init_text: str = Field(
            "Answer the question with a short and exact phrase.",
            min_length=1,
            description="Words whose embeddings it starts from, repeated as needed.",
        )

    def method(self, context: Context) -> Any:
        from peft import PromptTuningConfig, PromptTuningInit

        text = self.config.init == "text"
        return PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.config.tokens,
            prompt_tuning_init=PromptTuningInit[INITS[self.config.init]],
            prompt_tuning_init_text=self.config.init_text if text else None,
            tokenizer_name_or_path=context.tokenizer_folder if text else None,
        )
