"""Float32 matrix products on the processor through oneDNN.

PyTorch sends float32 products to its BLAS library, which for these shapes is slower than oneDNN on the processors tried
(8 % in the layers, 40 % in the vocabulary head, whose matrix fits no cache). Other types and devices go as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn


def linear(module: nn.Module, inputs: Tensor) -> Tensor:
    """What the module computes of inputs [..., in]; only a plain, dense nn.Linear takes the short way."""
    if type(module) is not nn.Linear or not _eligible(module) or module._forward_hooks or module._forward_pre_hooks:
        return module(inputs)
    return _product(module, inputs)


@contextmanager
def fast_linears(model: nn.Module) -> Iterator[None]:
    """The model's plain linear layers go through oneDNN inside this context; hooks on them still run."""
    changed = [module for module in model.modules() if type(module) is nn.Linear and _eligible(module)]
    try:
        for module in changed:
            module.forward = partial(_product, module)  # type: ignore[method-assign]
        yield
    finally:
        for module in changed:
            module.__dict__.pop("forward", None)


def _eligible(module: nn.Linear) -> bool:
    weight = module.weight
    return (
        "forward" not in module.__dict__  # somebody else's patch stays
        and weight.device.type == "cpu"
        and weight.dtype == torch.float32
        and weight.is_contiguous()
        and type(weight.data) is Tensor
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _product(module: nn.Linear, inputs: Tensor) -> Tensor:
    if inputs.dtype != torch.float32 or not inputs.numel():
        return nn.functional.linear(inputs, module.weight, module.bias)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, module.weight, module.bias, "none", [], "")
    return out
