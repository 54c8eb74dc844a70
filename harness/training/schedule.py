"""Learning rates as a pure function of the step."""

from __future__ import annotations

import math

from harness.training.settings import TrainSettings


def learning_rate(settings: TrainSettings, step: int, total: int) -> float:
    """The rate used by optimiser step `step` (from 0) of `total`: a linear rise, then the schedule."""
    warmup = math.ceil(settings.warmup_ratio * total)
    if step < warmup:
        return settings.lr * (step + 1) / (warmup + 1)
    if settings.schedule == "constant":
        return settings.lr
    done = (step - warmup) / max(1, total - warmup)
    if settings.schedule == "linear":
        return settings.lr * (1 - done)
    return settings.lr * 0.5 * (1 + math.cos(math.pi * done))
