"""Which sequences stand in which batch: a pure function of their lengths, the settings and the seed. No torch here."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from harness.exceptions import DataError
from harness.models.requests import TrainSequence
from harness.training.settings import TrainSettings


@dataclass(frozen=True)
class Plan:
    """`batches`: per optimiser step the sequences' indices. `epoch_ends`: steps at which a pass ends (the last step
    always does). `per_epoch`: batches of one pass, for reading a step as an epoch."""

    batches: tuple[tuple[int, ...], ...]
    epoch_ends: frozenset[int]
    per_epoch: float


def fit_lengths(
    sequences: Sequence[TrainSequence], limit: int | None, max_truncated: float, what: str
) -> tuple[list[TrainSequence], int]:
    """Sequences of at most `limit` tokens, and how many were truncated.

    The prompt loses tokens at its start; a target longer than the limit loses its end. A target that is empty, or that
    nothing stands before once it is cut, is an error, and so is truncating more than the allowed share.
    """
    result, truncated = [], 0
    for index, sequence in enumerate(sequences):
        prompt, target = sequence.prompt, sequence.target
        if limit is not None and len(prompt) + len(target) > limit:
            truncated += 1
            room = limit - len(target)
            if room < 1:  # the target alone fills the window: one prompt token stays to predict from
                prompt, target = prompt[-1:], target[: limit - min(1, len(prompt))]
            else:
                prompt = prompt[-room:]
        if not target:
            raise DataError(
                f"{what} example {index} has an empty target.", hint="Every training example needs an answer to learn."
            )
        result.append(TrainSequence(prompt, target))
    if truncated > max_truncated * len(sequences):
        raise DataError(
            f"{truncated} of {len(sequences)} {what} sequences are longer than {limit} tokens.",
            hint="Shorten the prompts, raise max_length, or allow more by max_truncated.",
        )
    return result, truncated


def length(sequence: TrainSequence) -> int:
    return len(sequence.prompt) + len(sequence.target)


def one_epoch(lengths: Sequence[int], budget: int, order: Sequence[int]) -> list[tuple[int, ...]]:
    """Consecutive runs of `order` with at most `budget` tokens each (a longer sequence stands alone), evened out so
    that the last batch is no stub."""
    count = max(1, math.ceil(sum(lengths) / budget))
    even = sum(lengths) / count  # batches of about this many tokens
    batches: list[tuple[int, ...]] = []
    current: list[int] = []
    tokens, seen = 0, 0
    for index in order:
        full = tokens + lengths[index] > budget
        due = seen + lengths[index] / 2 > even * (len(batches) + 1)
        if current and (full or due):
            batches.append(tuple(current))
            current, tokens = [], 0
        current.append(index)
        tokens += lengths[index]
        seen += lengths[index]
    if current:
        batches.append(tuple(current))
    return batches


def make_plan(lengths: Sequence[int], settings: TrainSettings, seed: int) -> Plan:
    """All optimiser batches of a training. Batches are random draws, never sorted by length: the forward pass packs
    sequences without padding, so nothing is gained by grouping them and no step sees only short examples."""
    batches: list[tuple[int, ...]] = []
    ends: set[int] = set()
    passes = 0
    per_epoch = 0.0
    while passes < settings.epochs and (settings.max_steps is None or len(batches) < settings.max_steps):
        order = list(range(len(lengths)))
        random.Random(f"{seed}/{passes}").shuffle(order)
        epoch = one_epoch(lengths, settings.tokens_per_batch, order)
        per_epoch = per_epoch or float(len(epoch))
        share = min(1.0, settings.epochs - passes)
        batches += epoch[: max(1, math.ceil(share * len(epoch) - 1e-9))]
        ends.add(len(batches))
        passes += 1
    if settings.max_steps is not None:
        batches = batches[: settings.max_steps]
    ends = {end for end in ends if end <= len(batches)} | {len(batches)}
    return Plan(tuple(batches), frozenset(ends), per_epoch)


def micro_batches(indices: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """A batch cut into forward passes of at most `budget` tokens, like lengths together."""
    result: list[list[int]] = []
    tokens = 0
    for index in sorted(indices, key=lambda item: (lengths[item], item)):
        if not result or tokens + lengths[index] > budget:
            result.append([])
            tokens = 0
        result[-1].append(index)
        tokens += lengths[index]
    return result
