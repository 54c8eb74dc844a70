"""A comparison as JSON: the form of `harness report --json`.

`{"format": 1, "run": {…}, "primary_metric", "baseline", "arms": [{"name", "status", "n", "metrics": {metric: {"value",
"low", "high", "note"}}, "change": {…}, "errors": {category: count}, "cost": {…}, "latency_s": {"p50", "p95"}, …}],
"verdict": {"outcome", "arm", "reasons", …}, "warnings": […], …}`. Unknown is null. Fields may be added within a format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from harness.analysis.result import Comparison

FORMAT = 1


def to_json_text(comparison: Comparison) -> str:
    """ASCII, so that it passes every terminal and pipe; never NaN."""
    return json.dumps({"format": FORMAT, **_plain(comparison.to_json())}, indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    """What JSON can express: numbers that are not finite are unknown, everything foreign is its text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):  # a NumPy scalar
        return _plain(value.item())
    return str(value)
