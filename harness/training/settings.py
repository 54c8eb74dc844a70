"""Settings and methods of one training, for every strategy that trains. No torch here: `check` and `plan` read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

TrainPart = Literal["all", "last_k_layers", "head", "embeddings_frozen"]


@dataclass(frozen=True)
class Weights:
    """A method for `Context.fit`: the model's own weights. `train`: all; the last `last_layers` layers and what follows
    them; the vocabulary head (with tied weights also the embeddings); or all but the embeddings (with tied weights also
    not the head). `unfreeze_over`: share of the steps over which layers join one after another, the last layer first
    (Howard and Ruder, 2018); 0: all from the start."""

    train: TrainPart = "all"
    last_layers: int = 2
    unfreeze_over: float = 0.0


@dataclass(frozen=True)
class Prefix:
    """A method for `Context.fit`: `tokens` key-values before every sequence, in every layer (Li and Liang, 2021).
    `init_ids`: token ids from whose key-values they start, repeated as needed; None: random."""

    tokens: int
    init_ids: tuple[int, ...] | None = None


class TrainSettings(BaseModel):
    """Strategies subclass this to change defaults and to add their own settings."""

    model_config = ConfigDict(extra="forbid")

    lr: float = Field(2e-4, gt=0, description="Peak learning rate.")
    epochs: float = Field(3.0, gt=0, description="Passes over the training examples; fractions are allowed.")
    max_steps: int | None = Field(None, ge=1, description="Most optimiser steps, whatever `epochs` says.")
    tokens_per_batch: int = Field(1024, ge=1, description="Tokens (prompt and target) per optimiser step.")
    tokens_per_forward: int = Field(
        2048, ge=1, description="Most tokens per forward pass; larger batches accumulate gradients. Bounds memory only."
    )
    warmup_ratio: float = Field(0.05, ge=0, lt=1, description="Share of the steps in which the rate rises from 0.")
    schedule: Literal["cosine", "constant", "linear"] = Field(
        "cosine", description="Course of the learning rate after the warm-up; cosine and linear end at 0."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's decay of matrices; biases and norms never decay.")
    max_grad_norm: float | None = Field(1.0, gt=0, description="Gradients are scaled down to this norm.")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's averaging of gradients and their squares.")
    max_length: int | None = Field(
        None, ge=2, description="Most tokens of a sequence; prompts lose tokens at their start. Never over the window."
    )
    max_truncated: float = Field(
        0.1, ge=0, le=1, description="Largest share of sequences that may be truncated; more is an error."
    )
    eval_every: int | None = Field(None, ge=1, description="Steps between validations; unset: once an epoch.")
    eval_limit: int | None = Field(256, ge=1, description="Most validation examples read for a validation loss.")
    select_by: Literal["loss", "metric"] = Field(
        "loss",
        description="What a validation judges by: the loss, or also the task's primary metric on answers (slower).",
    )
    metric_limit: int = Field(64, ge=1, description="Most validation examples answered for a validation metric.")
    patience: int | None = Field(
        None, ge=1, description="Stop after this many validations in a row without a new best; unset: never."
    )
    keep_best: bool = Field(True, description="Keep the weights of the best validation, not the last ones.")
    activation_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, a third more time."
    )
    checkpoint_seconds: float = Field(60.0, ge=0, description="Seconds between checkpoints; 0: after every step.")


class CorpusSettings(TrainSettings):
    """Training on documents instead of examples."""

    block_length: int = Field(512, ge=8, description="Tokens of a block; documents are laid end to end and cut there.")
    held_out: float = Field(0.05, ge=0, lt=1, description="Share of the documents kept for the validation loss.")


class ClassifierSettings(BaseModel):
    """A linear classifier on the model's hidden states."""

    model_config = ConfigDict(extra="forbid")

    pooling: Literal["mean", "last"] = Field(
        "mean", description="A prompt's features: the mean over its tokens' hidden states, or the last token's."
    )
    layer: int = Field(-1, description="Layer whose hidden states are read: -1 the last, 0 the embeddings.")
    c: float | None = Field(
        None,
        gt=0,
        description="Inverse strength of the L2 penalty; unset: the value with the best validation loss.",
    )
