"""Settings of one training, shared by every strategy that trains. No torch here: `check` and `plan` read them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
    eval_every: int | None = Field(None, ge=1, description="Steps between validation losses; unset: once an epoch.")
    eval_limit: int | None = Field(256, ge=1, description="Most validation examples read for a validation loss.")
    patience: int | None = Field(
        None, ge=1, description="Stop after this many validation losses in a row without a new best; unset: never."
    )
    keep_best: bool = Field(True, description="Keep the weights of the best validation loss, not the last ones.")
    activation_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass: less memory, a third more time."
    )
    checkpoint_seconds: float = Field(60.0, ge=0, description="Seconds between checkpoints; 0: after every step.")
