"""Numbers in text. Standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "bn": 1e9, "trillion": 1e12}
# A sign counts only where no word ends before it ("3-5" is two positive numbers); digits in Latin words (H2O) do not
# count, those after Chinese characters do.
_NUMBER = re.compile(
    r"(?:(?<![\w)\]])[-+−])?(?<![A-Za-z\d])"
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?<!\d)(?=\.\d))(?:\.\d+)?(?:[eE][-+]?\d{1,4}(?!\w))?"
    r"(?:\s?(thousand|million|billion|bn|trillion)\b)?",
    re.IGNORECASE,
)


def numbers(text: str) -> Iterator[float]:
    """The finite numbers of a text in order: "1,234.5", "-3", "−3", "2e6", "5.3 million". A comma counts as a thousands
    separator when three digits follow; any script's digits are read."""
    for match in _NUMBER.finditer(text):
        digits = match.group(0)
        scale = 1.0
        if match.group(1):
            digits = digits[: match.start(1) - match.start(0)]
            scale = _SCALES[match.group(1).lower()]
        value = float(digits.replace(",", "").replace("−", "-").strip()) * scale
        if math.isfinite(value):
            yield value


def close(value: float, gold: float, *, relative: float = 0.0, absolute: float = 0.0) -> bool:
    """Within either tolerance of the gold number; rounding of floats never counts as a difference."""
    return math.isclose(value, gold, rel_tol=1e-9) or abs(value - gold) <= max(absolute, relative * abs(gold))
