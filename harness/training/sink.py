"""Where gradients are summed in float32 while a model trains.

Plain accumulation makes a tensor of the parameter's size for every gradient. For a large embedding or vocabulary head
most of a step's time then goes into fresh memory, so that layers which know their parameter's sink add to it directly.
"""

from __future__ import annotations

from torch import Tensor, nn

PIECE = 1 << 20  # elements added at a time: a sum of two formats makes a copy of its addend, which stays this small
_NAME = "harness_sink"


class GradientSink:
    """Sums one parameter's gradients into `total` [the parameter's shape], float32, over the forward passes of a step.
    The first one of a step overwrites what the step before left."""

    def __init__(self, total: Tensor) -> None:
        self.total, self.fresh = total, True

    @classmethod
    def of(cls, parameter: nn.Parameter, total: Tensor) -> GradientSink:
        """A sink that `find` finds."""
        sink = cls(total)
        setattr(parameter, _NAME, sink)
        return sink

    @staticmethod
    def find(parameter: Tensor) -> GradientSink | None:
        """The parameter's sink while a training runs, else None."""
        return getattr(parameter, _NAME, None)

    @staticmethod
    def forget(parameter: Tensor) -> None:
        if hasattr(parameter, _NAME):
            delattr(parameter, _NAME)

    def add(self, grad: Tensor) -> None:
        """Adds a gradient of the whole parameter."""
        if self.fresh:
            self.total.copy_(grad)
        else:
            for into, piece in zip(self.total.view(-1).split(PIECE), grad.reshape(-1).split(PIECE), strict=True):
                into.add_(piece)
        self.fresh = False

    def add_product(self, left: Tensor, right: Tensor) -> None:
        """Adds left @ right, a block of rows at a time. left [rows, n], right [n, columns]."""
        rows = max(1, PIECE // right.shape[1])
        for start in range(0, len(left), rows):
            into, piece = self.total[start : start + rows], left[start : start + rows] @ right
            into.copy_(piece) if self.fresh else into.add_(piece)
        self.fresh = False

    def add_rows(self, index: Tensor, rows: Tensor) -> None:
        """Adds rows [n, columns] at places [n] of the first dimension; a place may come more than once."""
        if self.fresh:
            self.total.zero_()
        self.total.index_add_(0, index, rows.to(self.total.dtype))
        self.fresh = False

    def take(self, parameter: Tensor) -> None:
        """Adds the gradient that autograd left at the parameter, and frees it."""
        if parameter.grad is not None:
            self.add(parameter.grad)
            parameter.grad = None

    def close(self) -> None:
        """Ends a step: `total` is its gradient, 0 where nothing came; the next gradient starts anew."""
        if self.fresh:
            self.total.zero_()
        self.fresh = True
