"""The vocabulary head and its loss, at target positions only and a few rows at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harness.training.sink import GradientSink

CHUNK = 192  # rows of logits in memory at once


class _HeadLoss(torch.autograd.Function):
    """Sum of -ln p(target) for a linear head; gradients are made in the forward pass, so no logits are kept. Where few
    positions are read, the logits' own gradient is smaller than the weight's: it is kept, and the weight's made from it
    in the backward pass, straight into the weight's sink."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        needs_hidden, needs_weight = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        ctx.sink = GradientSink.find(weight) if needs_weight and len(targets) <= hidden.shape[1] else None
        kept: list[Tensor] = []
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight: Tensor | None = None
        for start in range(0, len(targets), CHUNK):
            rows, wanted = hidden[start : start + CHUNK], targets[start : start + CHUNK, None]
            logprobs = torch.log_softmax(rows @ weight.t(), dim=-1, dtype=torch.float32)
            total -= logprobs.gather(1, wanted).sum()
            if not (needs_hidden or needs_weight):
                continue
            grad = logprobs.exp_().scatter_add_(1, wanted, logprobs.new_full(wanted.shape, -1.0)).to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(grad, weight, out=grad_hidden[start : start + CHUNK])
            if ctx.sink is not None:
                kept.append(grad)
            elif needs_weight:
                if grad_weight is None:
                    grad_weight = grad.t() @ rows
                else:
                    grad_weight.addmm_(grad.t(), rows)
        ctx.save_for_backward(grad_hidden, grad_weight, hidden if kept else None, *kept)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_hidden, grad_weight, hidden, *kept = ctx.saved_tensors
        for start, grad in zip(range(0, CHUNK * len(kept), CHUNK), kept, strict=True):
            ctx.sink.add_product(grad.t(), hidden[start : start + CHUNK] * upstream.to(hidden.dtype))
        if grad_hidden is not None:
            grad_hidden = grad_hidden.mul_(upstream)
        if grad_weight is not None:
            grad_weight = grad_weight.mul_(upstream)
        return grad_hidden, grad_weight, None


def head_loss(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    """Sum over positions of -ln p(target), float32. hidden [n, hidden size], targets [n]."""
    if type(head) is nn.Linear and head.bias is None:
        return _HeadLoss.apply(hidden, head.weight, targets)
    logits = head(hidden)
    return nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
