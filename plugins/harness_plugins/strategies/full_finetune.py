"""Full fine-tuning: the model's own weights are trained, all of them or a part."""

from __future__ import annotations

from pydantic import Field, model_validator

from harness.strategy import Context, TrainingStrategy
from harness.training.settings import TrainPart, TrainSettings, Weights


class FullFinetune(TrainingStrategy):
    class Config(TrainSettings):
        lr: float = Field(5e-5, gt=0, description="Peak learning rate.")
        tokens_per_forward: int = Field(
            1024,
            ge=1,
            description="Most tokens per forward pass; fewer save memory, of which the optimiser's state takes much.",
        )
        train: TrainPart = Field(
            "all",
            description="Weights that are trained: all; the last layers and what follows them; the vocabulary head "
            "(tied to the embeddings, it is the same weights); all but the embeddings (and a tied head).",
        )
        last_layers: int = Field(2, ge=1, description='Layers that train = "last_k_layers" trains.')
        gradual_unfreezing: float = Field(
            0.0,
            ge=0,
            le=1,
            description="Share of the steps over which layers join, last one first (Howard and Ruder, 2018); 0: off.",
        )

        @model_validator(mode="after")
        def _has_layers_to_unfreeze(self) -> FullFinetune.Config:
            if self.gradual_unfreezing and self.train == "head":
                raise ValueError('gradual_unfreezing has no layers to unfreeze with train = "head"')
            return self

    def method(self, context: Context) -> Weights:
        return Weights(self.config.train, self.config.last_layers, self.config.gradual_unfreezing)
