"""Learning curves on the HTML page: score against the number of training examples."""

from __future__ import annotations

from typing import Any

from harness.analysis.curve import value_at
from harness.analysis.result import Comparison, LearningCurve
from harness.report.html.chart import Chart, ChartData, Spec, arm_colour, legend, spec
from harness.report.text import one_line

FIT_POINTS = 24


def learning_curves(comparison: Comparison, data: ChartData) -> Chart | None:
    """Points with intervals, the fit as a line, and its estimate for twice the data; None without a measured point."""
    rows = [row for curve in comparison.curves for row in _points(curve)]
    if not any(row["kind"] == "measured" for row in rows):
        return None
    metric = one_line(comparison.primary_metric)
    horizontal: Spec = {
        "field": "size",
        "type": "quantitative",
        "title": "training examples",
        "scale": {"type": "log", "nice": False, "padding": 16},
        "axis": {"values": sorted({row["size"] for row in rows if row["kind"] != "fit"}), "labelOverlap": True},
    }
    vertical: Spec = {"field": "score", "type": "quantitative", "title": metric, "scale": {"zero": False, "nice": True}}
    tooltip = [
        {"field": "arm"},
        {"field": "size", "title": "training examples"},
        {"field": "score", "title": metric, "format": ".3f"},
        {"field": "interval", "title": "95 % interval"},
        {"field": "kind"},
    ]
    colour = arm_colour(comparison, legend=legend())
    both = {"x": horizontal, "color": colour}
    marks = {"field": "kind", "type": "nominal", "legend": None}
    shapes = {"domain": ["measured", "estimate"], "range": ["circle", "diamond"]}
    layers: list[Spec] = [
        {
            "transform": [{"filter": "datum.kind == 'fit'"}],
            "mark": {"type": "line", "strokeWidth": 1.5, "strokeDash": [5, 3]},
            "encoding": {**both, "y": vertical},
        },
        {
            "transform": [{"filter": "datum.kind != 'fit' && isValid(datum.low)"}],
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": {**both, "y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}},
        },
        {
            "transform": [{"filter": "datum.kind != 'fit'"}],
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {**both, "y": vertical, "shape": {**marks, "scale": shapes}, "tooltip": tooltip},
        },
    ]
    about = "Circles are measured, with 95 % intervals; the diamond is what the fitted curve gives for twice the data."
    notes = [f"{one_line(curve.arm)}: {one_line(curve.note)}" for curve in comparison.curves if curve.note]
    return Chart("learning", "Learning curves", about, spec(rows, 280, layer=layers), "; ".join(notes))


def _points(curve: LearningCurve) -> list[dict[str, Any]]:
    arm = one_line(curve.arm)

    def row(kind: str, size: float, score: float, low: float | None = None, high: float | None = None) -> Any:
        band = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        return {"arm": arm, "kind": kind, "size": size, "score": score, "low": low, "high": high, "interval": band}

    found = [
        row("measured", point.size, point.score.value, point.score.low, point.score.high)
        for point in curve.points
        if point.score.value is not None
    ]
    if curve.fit is None or curve.doubled is None or curve.doubled.value is None or curve.doubled_size is None:
        return found
    first, last = float(found[0]["size"]), float(curve.doubled_size)
    sizes = [first * (last / first) ** (step / (FIT_POINTS - 1)) for step in range(FIT_POINTS)]
    found += [row("fit", size, value_at(curve.fit, size)) for size in sizes]
    ahead = curve.doubled
    return [*found, row("estimate", last, curve.doubled.value, ahead.low, ahead.high)]
