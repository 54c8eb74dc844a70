"""Matrix products on the processor through oneDNN.

PyTorch sends float32 products to its BLAS library, which for these shapes is slower than oneDNN on the processors tried
(8 % in the layers, 40 % in the vocabulary head, whose matrix fits no cache). The head is used once for every generated
token: there its matrix is laid out for oneDNN beforehand, which otherwise happens in every call (bfloat16, tried: half
the time for one row, a quarter less for fifty). Other types and devices go as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn


def linear(module: nn.Module, inputs: Tensor) -> Tensor:
    """What the module computes of inputs [..., in]; only a plain, dense nn.Linear takes the short way."""
    if type(module) is not nn.Linear or not _eligible(module) or _hooked(module):
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


class PackedLinear:
    """A plain linear layer whose matrix is laid out once for products with about `rows` rows; as the module itself
    where that cannot be done. The copy takes as much memory as the matrix."""

    def __init__(self, module: nn.Module, rows: int) -> None:
        self.module = module
        self._packed: Tensor | None = None
        if type(module) is nn.Linear and _eligible(module, (torch.float32, torch.bfloat16)) and not _hooked(module):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), rows)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Outputs [n, out] of inputs [n, in]."""
        if self._packed is None or not inputs.numel():
            return linear(self.module, inputs)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, self._packed, self.module.bias, "none", [], "")
        return out


def _eligible(module: nn.Linear, dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    weight = module.weight
    return (
        "forward" not in module.__dict__  # somebody else's patch stays
        and weight.device.type == "cpu"
        and weight.dtype in dtypes
        and weight.is_contiguous()
        and type(weight.data) is Tensor
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _product(module: nn.Linear, inputs: Tensor) -> Tensor:
    if inputs.dtype != torch.float32 or not inputs.numel():
        return nn.functional.linear(inputs, module.weight, module.bias)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, module.weight, module.bias, "none", [], "")
    return out
