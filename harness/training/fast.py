"""Leaner forward and backward passes for three kinds of layers, while a training runs: LoRA's, root-mean-square norms,
and an embedding that is trained.

Same results to rounding, fewer passes over memory. A layer is only replaced where it is of the plain form, and a norm
only where it gives the same numbers as the model's own on random input; all others run as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harness.training.sink import GradientSink


class _LoraLinear(torch.autograd.Function):
    """x W' + b + sum of scale (x A') B' over adapters; W and b are frozen. x [tokens, in]; A [rank, in], B [out, rank]
    follow in pairs. Products are added in place by the matrix kernel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, scales: list[float], *pairs: Tensor
    ) -> Tensor:
        out = nn.functional.linear(x, weight, bias)
        narrow = []
        for a, b, scale in zip(pairs[::2], pairs[1::2], scales, strict=True):
            narrow.append(x @ a.t())
            out.addmm_(narrow[-1], b.t(), alpha=scale)
        ctx.save_for_backward(x, weight, *pairs, *narrow)
        ctx.scales = scales
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, weight, *rest = ctx.saved_tensors
        count = len(ctx.scales)
        pairs, narrow = rest[: 2 * count], rest[2 * count :]
        grad = grad.contiguous()
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        found: list[Tensor | None] = []
        for number, scale in enumerate(ctx.scales):
            a, b = pairs[2 * number : 2 * number + 2]
            back = (grad @ b).mul_(scale)
            if grad_x is not None:
                grad_x.addmm_(back, a)
            trained = ctx.needs_input_grad[4 + 2 * number]
            found += [back.t() @ x, grad.t() @ narrow[number].mul(scale)] if trained else [None, None]
        return (grad_x, None, None, None, *found)


class _RmsNorm(torch.autograd.Function):
    """x / rms(x) in float32, in x's format times the weight. x [tokens, size]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).to(x.dtype).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        normed = x.float() * scale
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * normed).sum(dim=0).to(weight.dtype)
        wide = (grad * weight).float()
        along = torch.linalg.vecdot(wide, normed).div_(x.shape[-1]).unsqueeze(-1)
        wide = wide.addcmul_(normed, along, value=-1).mul_(scale)
        return wide.to(x.dtype), grad_weight, None


class _Embedding(torch.autograd.Function):
    """Rows of weight [vocabulary, size] at ids. Their gradients are added where they belong, in the weight's sink; the
    plain layer makes a gradient of the whole matrix. `padding`: an id whose row gets none, or None."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, sink: GradientSink, padding: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.sink, ctx.padding = sink, padding
        return nn.functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, None, None]:
        (ids,) = ctx.saved_tensors
        flat, rows = ids.reshape(-1), grad.reshape(-1, grad.shape[-1])
        if ctx.padding is not None:
            real = flat != ctx.padding
            flat, rows = flat[real], rows[real]
        ctx.sink.add_rows(flat, rows)
        return None, None, None, None


@contextmanager
def fast_layers(model: nn.Module) -> Iterator[int]:
    """Layers run lean inside this context; yields how many do."""
    changed: list[nn.Module] = []
    for module in model.modules():
        forward = _lora_forward(module) or _norm_forward(module) or _embedding_forward(module)
        if forward is not None and "forward" not in module.__dict__:
            module.forward = forward  # shadows the class's method
            changed.append(module)
    try:
        yield len(changed)
    finally:
        for module in changed:
            del module.__dict__["forward"]


def _lora_forward(layer: nn.Module) -> Callable[..., Tensor] | None:
    module: Any = layer
    if type(module) is not LoraLinear or module.merged or module.disable_adapters:
        return None
    base: Any = module.base_layer
    names = [name for name in module.active_adapters if name in module.lora_A]
    plain = (
        type(base) is nn.Linear
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and names
        and not any(name in module.lora_variant for name in names)
        and all(isinstance(module.lora_dropout[name], nn.Identity) for name in names)
        and all(module.lora_B[name].bias is None for name in names)
    )
    if not plain:
        return None
    pairs = [layer.weight for name in names for layer in (module.lora_A[name], module.lora_B[name])]
    scales = [float(module.scaling[name]) for name in names]

    def forward(x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        if any(weight.dtype != x.dtype for weight in (base.weight, *pairs)):
            return LoraLinear.forward(module, x)
        out = _LoraLinear.apply(flat, base.weight, base.bias, scales, *pairs)
        return out.view(*x.shape[:-1], -1)

    return forward


def _embedding_forward(layer: nn.Module) -> Callable[..., Tensor] | None:
    module: Any = layer
    if type(module) is not nn.Embedding or module.max_norm is not None or module.scale_grad_by_freq or module.sparse:
        return None
    sink = GradientSink.find(module.weight)
    if sink is None:
        return None

    def forward(ids: Tensor) -> Tensor:
        return _Embedding.apply(module.weight, ids, sink, module.padding_idx)

    return forward


def _norm_forward(module: nn.Module) -> Callable[..., Tensor] | None:
    weight = getattr(module, "weight", None)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    named = type(module).__name__.endswith("RMSNorm")
    if not named or not isinstance(weight, nn.Parameter) or weight.dim() != 1 or not isinstance(eps, float):
        return None
    epsilon = eps

    def forward(hidden_states: Tensor) -> Tensor:
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        return _RmsNorm.apply(flat, weight, epsilon).view(hidden_states.shape)

    sample = torch.linspace(-2, 3, 3 * len(weight), device=weight.device).view(3, -1).sin().to(weight.dtype)
    with torch.no_grad():
        try:
            own, ours = module(sample), forward(sample)
        except (RuntimeError, TypeError):
            return None
    allowed = 1e-5 if weight.dtype == torch.float32 else 0.02
    same = own.dtype == ours.dtype and torch.allclose(own.float(), ours.float(), rtol=allowed, atol=allowed)
    return forward if same else None
