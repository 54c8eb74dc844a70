"""Documents as training sequences: laid end to end and cut into blocks, so that no token is padding."""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.models.requests import TrainSequence
from harness.types import Document


def split_documents(documents: Sequence[Document], held_out: float, seed: int) -> tuple[list[Document], list[Document]]:
    """Documents to train on and, in a share `held_out` drawn by seed, documents to validate on: none of few."""
    order = list(range(len(documents)))
    random.Random(f"corpus/{seed}").shuffle(order)
    held = set(order[: int(held_out * len(documents))])
    return (
        [document for index, document in enumerate(documents) if index not in held],
        [document for index, document in enumerate(documents) if index in held],
    )


def document_text(document: Document) -> str:
    return f"{document.title}\n{document.text}".strip()


def blocks(texts: Sequence[tuple[int, ...]], end: int, length: int) -> list[TrainSequence]:
    """Blocks of `length` tokens of the texts, each closed by the token `end`; every token is learnt from those before
    it in its block. A last token without one before it is dropped."""
    tokens = [token for text in texts for token in (*text, end)]
    cut = [tuple(tokens[start : start + length]) for start in range(0, len(tokens), length)]
    return [TrainSequence((), block) for block in cut if len(block) > 1]
