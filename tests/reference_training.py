"""A slow, plain training loss and step, against which the loop is tested: one sequence at a time, full logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.models.requests import TrainSequence


def reference_loss(model: Any, sequences: Sequence[TrainSequence], root: Tensor | None = None) -> Tensor:
    """Mean over all target tokens of -ln p(token), with gradient; root [length, hidden] stands before each sequence."""
    shift = 0 if root is None else len(root)
    total, count = torch.zeros(()), 0
    for sequence in sequences:
        ids = torch.tensor([[*sequence.prompt, *sequence.target]])
        embeds = model.get_input_embeddings()(ids)
        if root is not None:
            embeds = torch.cat([root[None], embeds], dim=1)
        logits = model(inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2])).logits[0]
        labels = torch.full((embeds.shape[1],), -100)
        labels[shift + len(sequence.prompt) :] = torch.tensor(sequence.target)
        wanted = labels[1:]
        total = total + torch.nn.functional.cross_entropy(logits[:-1], wanted, ignore_index=-100, reduction="sum")
        count += int((wanted != -100).sum())
    return total / count
