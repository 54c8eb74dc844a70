"""A slow, plain training loss and step, against which the loop is tested: one sequence at a time, full logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from harness.models.requests import TrainSequence


def reference_loss(
    model: Any, sequences: Sequence[TrainSequence], root: Tensor | None = None, prefix: Tensor | None = None
) -> Tensor:
    """Mean over all target tokens of -ln p(token), with gradient; a root [length, hidden] or a prefix (see `Variant`)
    stands before each sequence."""
    shift = 0 if root is None else len(root)
    total, count = torch.zeros(()), 0
    for sequence in sequences:
        ids = torch.tensor([[*sequence.prompt, *sequence.target]])
        embeds = model.get_input_embeddings()(ids)
        if root is not None:
            embeds = torch.cat([root[None], embeds], dim=1)
        past = None if prefix is None else DynamicCache([(keys[None], values[None]) for keys, values in prefix])
        seen = embeds.shape[1] + (0 if prefix is None else prefix.shape[3])
        mask = torch.ones(1, seen)
        logits = model(inputs_embeds=embeds, attention_mask=mask, past_key_values=past).logits[0]
        labels = torch.full((embeds.shape[1],), -100)
        labels[shift + len(sequence.prompt) :] = torch.tensor(sequence.target)
        wanted = labels[1:]
        total = total + torch.nn.functional.cross_entropy(logits[:-1], wanted, ignore_index=-100, reduction="sum")
        count += int((wanted != -100).sum())
    return total / count
