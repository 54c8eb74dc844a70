"""Which rows are computed together: a pure function of their lengths, so that a resumed run forms the same batches."""

from __future__ import annotations

import math
from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], token_budget: int, max_rows: int) -> list[list[int]]:
    """Indices grouped by similar length, longest first; every index stands in exactly one batch.

    A batch of r rows, padded to its longest row of n tokens, has r * n <= token_budget and r <= max_rows; where only
    `max_rows` limits, batches are of equal size, because a small last one costs nearly as much as a full one. A row
    longer than the budget is a batch of its own. Rows of equal length keep their order.
    """
    if token_budget < 1 or max_rows < 1:
        raise ValueError("token_budget and max_rows must be at least 1")
    if lengths:
        max_rows = math.ceil(len(lengths) / math.ceil(len(lengths) / max_rows))
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    longest = 0
    for index in order:
        current = batches[-1] if batches else None
        if current is None or len(current) >= max_rows or (len(current) + 1) * longest > token_budget:
            batches.append([index])
            longest = max(1, lengths[index])
        else:
            current.append(index)
    return batches
