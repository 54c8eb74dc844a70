"""Charts about money: quality against cost, and monthly cost against volume."""

from __future__ import annotations

import math
from typing import Any

from harness.analysis.choice import cost_at, pareto_front
from harness.analysis.result import ArmResult, Comparison
from harness.report.html.chart import Chart, ChartData, Spec, arm_colour, legend, log_ticks, names, score, spec
from harness.report.html.labels import place_labels
from harness.report.summary import NOTICEABLE_REQUESTS
from harness.report.text import one_line

COSTS = (
    ("usd_per_1k_requests", "$ per 1,000 requests"),
    ("usd_over_horizon", "$ over the horizon"),
    ("seconds_per_1k_requests", "seconds per 1,000 requests"),
)
MARKS = {"domain": ["on the front", "beaten on both"], "range": ["circle", "square"]}
VOLUMES = 49  # points of a cost curve, evenly spaced on a logarithmic scale


def quality_against_cost(comparison: Comparison, data: ChartData) -> Chart | None:
    """Score with its interval against what an arm costs, by each kind of cost that is known for two arms or more."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    front_rows: list[dict[str, Any]] = []
    for field, label in COSTS:
        points = _points(comparison, field)
        if len(points) < 2:
            continue
        turned = {name: (cost, value if data.higher_is_better else -value) for name, (cost, value) in points.items()}
        front = pareto_front(turned)
        kinds[label] = [
            _point(comparison, arm, field, label, arm.name in front) for arm in comparison.arms if arm.name in points
        ]
        front_rows += [{"kind": label, "cost": points[name][0], "score": points[name][1]} for name in front]
    if not kinds:
        return None
    amounts = [[row["cost"] for row in rows] for rows in kinds.values()]
    logarithmic = all(min(each) > 0 for each in amounts) and any(max(each) / min(each) > 8 for each in amounts)
    rows = [row for each in kinds.values() for row in _labelled(each, logarithmic)]
    shown = {row["arm"] for row in rows}
    absent = [name for name in names(comparison) if name not in shown]
    return Chart(
        "quality-cost",
        "Quality against cost",
        "Up is better, left is cheaper. The dashed line is the Pareto front: no arm beats an arm on it at both. Bars "
        "are 95 % intervals."
        if data.higher_is_better
        else "Down is better, left is cheaper. The dashed line is the Pareto front: no arm beats an arm on it at both.",
        _quality_spec(comparison, rows, front_rows, list(kinds), logarithmic),
        f"Not shown, because a score or a cost is unknown: {', '.join(absent)}." if absent else "",
    )


def _labelled(rows: list[dict[str, Any]], logarithmic: bool) -> list[dict[str, Any]]:
    """The rows with a place for each name."""
    costs = [math.log(row["cost"]) if logarithmic else row["cost"] for row in rows]
    low = min(row["low"] for row in rows)
    high = max(row["high"] for row in rows)
    width, height = (max(costs) - min(costs)) or 1.0, (high - low) or 1.0
    points = [
        (row["arm"], (cost - min(costs)) / width, (row["score"] - low) / height)
        for row, cost in zip(rows, costs, strict=True)
    ]
    places = place_labels(points)
    return [{**row, "align": a, "dx": x, "dy": y} for row, (a, x, y) in zip(rows, places, strict=True)]


def _quality_spec(
    comparison: Comparison,
    rows: list[dict[str, Any]],
    front: list[dict[str, Any]],
    kinds: list[str],
    logarithmic: bool,
) -> Spec:
    scale = {"type": "log", "nice": False, "padding": 24} if logarithmic else {"zero": False, "padding": 24}
    axis: Spec = {"tickCount": 5, "format": "~g"}
    if logarithmic:
        costs = [row["cost"] for row in rows]
        axis["values"] = log_ticks(min(costs) / 2, max(costs) * 2, (1, 2, 5))
    metric = one_line(comparison.primary_metric)
    rule = {"type": "rule", "strokeWidth": 2, "opacity": 0.65}
    chosen = [{"filter": "datum.kind == kind"}]
    tooltip = [
        {"field": "arm"},
        {"field": "score", "format": ".3f", "title": metric},
        {"field": "interval", "title": "95 %"},
        {"field": "cost", "format": ".4~g"},
        {"field": "mark", "title": "Pareto"},
    ]
    return spec(
        rows,
        320,
        params=[{"name": "kind", "value": kinds[0], "bind": {"input": "select", "options": kinds, "name": "Cost: "}}],
        encoding={
            "x": {"field": "cost", "type": "quantitative", "title": None, "axis": axis, "scale": scale},
            "y": {"field": "score", "type": "quantitative", "title": metric, "scale": {"zero": False, "nice": True}},
        },
        layer=[
            {
                "data": {"values": front},
                "transform": chosen,
                "mark": {"type": "line", "interpolate": "step-after", "strokeDash": [5, 4], "color": "#888888"},
                "encoding": {"order": {"field": "cost"}},
            },
            {
                "transform": chosen,
                "mark": rule,
                "encoding": {"y": {"field": "low"}, "y2": {"field": "high"}, "color": arm_colour(comparison)},
            },
            {
                "transform": [*chosen, {"filter": "isValid(datum.cheap) && isValid(datum.dear)"}],
                "mark": rule,
                "encoding": {"x": {"field": "cheap"}, "x2": {"field": "dear"}, "color": arm_colour(comparison)},
            },
            {
                "transform": chosen,
                "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
                "encoding": {
                    "color": arm_colour(comparison, legend=None),
                    "shape": {"field": "mark", "type": "nominal", "legend": None, "scale": MARKS},
                    "tooltip": tooltip,
                },
            },
            {
                "transform": chosen,
                "mark": {
                    "type": "text",
                    "limit": 150,
                    "align": {"expr": "datum.align"},
                    "dx": {"expr": "datum.dx"},
                    "dy": {"expr": "datum.dy"},
                },
                "encoding": {"text": {"field": "arm"}},
            },
        ],
    )


def _points(comparison: Comparison, field: str) -> dict[str, tuple[float, float]]:
    found = {}
    for arm in comparison.arms:
        cost, value = getattr(arm.cost, field), score(comparison, arm).value
        if cost is not None and math.isfinite(cost) and value is not None and field not in arm.cost.lower_bounds:
            found[arm.name] = (cost, value)
    return found


def _point(comparison: Comparison, arm: ArmResult, field: str, label: str, front: bool) -> dict[str, Any]:
    value = score(comparison, arm)
    banded = field == "usd_per_1k_requests"
    low, high = (value.low, value.high) if value.low is not None and value.high is not None else (None, None)
    return {
        "arm": one_line(arm.name),
        "kind": label,
        "cost": getattr(arm.cost, field),
        "score": value.value,
        "low": value.value if low is None else low,
        "high": value.value if high is None else high,
        "interval": "unknown" if low is None or high is None else f"{low:.3f} to {high:.3f}",
        "cheap": arm.cost.usd_per_1k_low if banded else None,
        "dear": arm.cost.usd_per_1k_high if banded else None,
        "mark": "on the front" if front else "beaten on both",
    }


def monthly_cost(comparison: Comparison, data: ChartData) -> Chart | None:
    """Dollars a month against requests a month, one-off work spread over the horizon, with break-even points."""
    costs = {arm.name: arm.cost for arm in comparison.arms}
    hosting = data.hosting or 0.0
    wanted = data.decision.monthly_requests
    marks = [even.requests_per_month for even in comparison.break_even] + ([wanted] if wanted else [])
    low = float(NOTICEABLE_REQUESTS)
    high = min(max(1e6, *(mark * 5 for mark in marks)) if marks else 1e6, 1e12)
    volumes = [low * (high / low) ** (step / (VOLUMES - 1)) for step in range(VOLUMES)]
    rows = [
        {"arm": one_line(name), "requests": volume, "usd": usd}
        for name, cost in costs.items()
        for volume in volumes
        if (usd := cost_at(cost, data.decision, volume, hosting)) is not None and usd > 0
    ]
    shown = {row["arm"] for row in rows}
    if not shown:
        return None
    crossings = [
        {
            "requests": even.requests_per_month,
            "usd": cost_at(costs[even.below], data.decision, even.requests_per_month, hosting),
            "says": f"below: {one_line(even.below)} is cheaper; above: {one_line(even.above)}",
            "band": "" if even.low is None or even.high is None else f"{even.low:,.0f} to {even.high:,.0f}",
        }
        for even in comparison.break_even
        if low <= even.requests_per_month <= high
    ]
    axis = {"type": "quantitative", "scale": {"type": "log", "nice": False}}
    ticks = log_ticks(min(row["usd"] for row in rows) / 2, max(row["usd"] for row in rows) * 2)
    layer: list[dict[str, Any]] = [
        {
            "mark": {"type": "line", "strokeWidth": 2.5},
            "encoding": {
                "color": arm_colour(comparison, legend=legend()),
                "opacity": {"condition": {"param": "picked", "value": 1}, "value": 0.12},
                "tooltip": [{"field": "arm"}, {"field": "requests", "format": ",.0f", "title": "requests a month"},
                            {"field": "usd", "format": "$,.2f", "title": "$ a month"}],
            },
            "params": [{"name": "picked", "select": {"type": "point", "fields": ["arm"]}, "bind": "legend"}],
        },
    ]  # fmt: skip
    if crossings:
        layer.append(
            {
                "data": {"values": crossings},
                "mark": {
                    "type": "point",
                    "filled": False,
                    "size": 90,
                    "strokeWidth": 2,
                    "color": "#888888",
                    "opacity": 1,
                },
                "encoding": {
                    "tooltip": [
                        {"field": "says", "title": "break-even"},
                        {"field": "requests", "format": ",.0f", "title": "requests a month"},
                        {"field": "band"},
                    ],
                },
            }
        )
    if wanted:
        layer.append(
            {
                "data": {"values": [{"requests": wanted, "says": "your volume"}]},
                "mark": {"type": "rule", "strokeDash": [4, 4], "color": "#888888", "size": 2},
                "encoding": {"y": None, "tooltip": [{"field": "says"}, {"field": "requests", "format": ",.0f"}]},
            }
        )
    drawn = spec(
        rows,
        320,
        encoding={
            "x": {
                "field": "requests",
                **axis,
                "title": "requests a month",
                "axis": {"format": "~s", "values": log_ticks(low, high)},
            },
            "y": {"field": "usd", **axis, "title": "$ a month", "axis": {"format": "$,.6~f", "values": ticks}},
        },
        layer=layer,
    )
    absent = [name for name in names(comparison) if name not in shown]
    return Chart(
        "monthly-cost",
        "Monthly cost against volume",
        f"One-off work and refreshes are spread over {data.decision.horizon_months:g} months. Circles are break-even "
        "points" + ("; the dashed line is your volume." if wanted else "."),
        drawn,
        f"Not shown, because a cost is unknown or nothing: {', '.join(absent)}." if absent else "",
    )
