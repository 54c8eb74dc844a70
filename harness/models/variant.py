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
    peft's prompt-learning wrappers never do). `root`: soft prompt embeddings [length, hidden] that stand before every
    sequence, or None. Positions count from the root's first row; root rows are attended by every token.
    """

    model: PreTrainedModel
    root: Tensor | None = None
