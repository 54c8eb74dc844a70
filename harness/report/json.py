"""A comparison as JSON: the form of `harness report --json`, documented as a JSON Schema in docs/report.schema.json.

`{"format": 1, "run": {…}, "primary_metric", "baseline", "arms": [{"name", "status", "n", "metrics": {metric: {"value",
"low", "high", "note"}}, "change": {…}, "errors": {category: count}, "cost": {…}, "latency_s": {"p50", "p95"}, …}],
"verdict": {"outcome", "arm", "reasons", "would_flip", …}, "warnings": […], …}`. Unknown is null. Fields may be added
within a format; none is removed and none changes its meaning.
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
    return json.dumps({"format": FORMAT, **plain(comparison.to_json())}, indent=2, allow_nan=False)


def schema() -> dict[str, Any]:
    """JSON Schema of the report, from the classes that the analysis returns."""
    from pydantic import TypeAdapter

    found = TypeAdapter(Comparison).json_schema(mode="serialization")
    found["properties"] = {"format": {"const": FORMAT, "description": "Version of this form."}, **found["properties"]}
    found["required"] = ["format", *found["properties"].keys() - {"format"}]
    found["required"].sort()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "harness report --json",
        **{key: value for key, value in found.items() if key != "title"},
    }


def plain(value: Any) -> Any:
    """What JSON can express: numbers that are not finite are unknown, everything foreign is its text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(part) for part in value]
    if hasattr(value, "item"):  # a NumPy scalar
        return plain(value.item())
    return str(value)
