"""The table of answers that need no model: what the metrics say of the gold and of trivial answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.analysis.result import Comparison
from harness.report import text
from harness.report.columns import Column, two_lines

HEADING = "The same metrics on answers that need no model"


def of_comparison(comparison: Comparison) -> tuple[Column, list[Column]]:
    """Kinds of answers, and a column for each metric, the deciding one first; no columns where a run has no table."""
    task = comparison.run.get("task")
    checks = task.get("eval_checks") if isinstance(task, Mapping) else None
    rows: list[Mapping[str, Any]] = checks if isinstance(checks, list) else []
    rows = [check for check in rows if not check.get("skipped")]  # nothing was asked of them
    ordered = sorted(rows, key=lambda check: check["metric"] != comparison.primary_metric)
    kinds = list(ordered[0]["scores"]) if ordered else []
    table = [
        Column(two_lines(str(check["metric"])), tuple(text.score(check["scores"].get(kind)) for kind in kinds))
        for check in ordered
    ]
    return Column("answer", tuple(text.one_line(kind) for kind in kinds), left=True), table
