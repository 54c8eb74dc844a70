"""A comparison as CSV for a spreadsheet: one row an arm, numbers as numbers, unknown as an empty cell.

Columns: `run`, `arm`, `status`, `chosen`, `n`, `coverage`, `seeds`; for each metric `<metric>`, `<metric>_low`,
`<metric>_high`; `change…` against the baseline; `errors_<category>`; every field of the arm's cost; latencies.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import fields
from typing import Any

from harness.analysis.result import ArmCost, ArmResult, Comparison, Interval, PairedChange
from harness.report.text import one_line

CHANGE = ("value", "low", "high", "p", "p_adjusted", "n", "better", "worse", "effect_size")
COST = tuple(field.name for field in fields(ArmCost) if field.name != "lower_bounds")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(comparison: Comparison) -> str:
    """Header and one row an arm, in the file's order."""
    metrics = list(dict.fromkeys(name for arm in comparison.arms for name in arm.metrics))
    categories = list(dict.fromkeys(name for arm in comparison.arms for name in arm.errors))
    rows = [_row(comparison, arm, metrics, categories) for arm in comparison.arms]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([cell(name) for name in rows[0]] if rows else ["run", "arm"])
    writer.writerows([cell(value) for value in row.values()] for row in rows)
    return out.getvalue()


def cell(value: Any) -> str:
    """A number as it is; a text on one line, and never one that a spreadsheet would compute."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = one_line(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _row(comparison: Comparison, arm: ArmResult, metrics: list[str], categories: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {
        "run": comparison.run.get("id"),
        "arm": arm.name,
        "status": arm.status,
        "chosen": arm.name == comparison.verdict.arm,
        "n": arm.n,
        "coverage": arm.coverage,
        "seeds": " ".join(map(str, arm.seeds)),
    }
    for name in metrics:
        found = arm.metrics.get(name, Interval(None))
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    change = arm.change or PairedChange(None)
    known = arm.change is not None
    row |= {"change" if name == "value" else f"change_{name}": getattr(change, name) if known else None
            for name in CHANGE}  # fmt: skip
    row |= {f"errors_{name}": arm.errors.get(name, 0) if arm.errors else None for name in categories}
    row |= {name: getattr(arm.cost, name) for name in COST}
    row |= {f"latency_{name}_s": value for name, value in arm.latency_s.items()}
    row["retrieval_recall"] = arm.retrieval_recall.value if arm.retrieval_recall else None
    row["lower_bounds"] = " ".join(arm.cost.lower_bounds)
    return row
