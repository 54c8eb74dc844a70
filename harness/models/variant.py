"""A model ready to run, as the engines see it: a forward function and an optional root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Variant:
    """`model`: a transformers causal language model with its adapters switched on (peft's LoRA layers sit inside it;
    peft's prompt-learning wrappers never do). What stands before every sequence, if anything, is its root: `root`, soft
    prompt embeddings [length, hidden], or `prefix`, key-values [layers, 2 (key, value), key-value heads, length, head
    size]; never both. Positions count from the root's first row; root rows are attended by every token.
    """

    model: PreTrainedModel
    root: Tensor | None = None
    prefix: Tensor | None = None

    @property
    def root_length(self) -> int:
        """Positions taken by the root."""
        if self.prefix is not None:
            return int(self.prefix.shape[3])
        return 0 if self.root is None else int(self.root.shape[0])
