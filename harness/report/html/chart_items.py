"""Charts about answers and training: errors by category, what became of the baseline's answers, losses."""

from __future__ import annotations

from typing import Any

from harness.analysis.items import RIGHT
from harness.analysis.result import Comparison
from harness.report.html.chart import (
    RIGHT_COLOUR,
    Chart,
    ChartData,
    arm_colour,
    category,
    category_order,
    category_scale,
    legend,
    names,
    spec,
)
from harness.report.text import one_line

BAND = 32  # height of one row of bars, in pixels
FATES = ("both right", "gained", "lost", "both wrong")
FATE_COLOURS = (RIGHT_COLOUR, "#0072b2", "#d55e00", "#9a9a9a")


def error_categories(comparison: Comparison, data: ChartData) -> Chart | None:
    """Every arm's items by primary category, as stacked bars."""
    totals: dict[str, int] = {}
    for arm in comparison.arms:
        for name, count in arm.errors.items():
            totals[name] = totals.get(name, 0) + count
    if not totals:
        return None
    order = category_order(totals)
    rows = [
        {"arm": one_line(arm.name), "category": category(name), "items": arm.errors[name],
         "share": arm.errors[name] / sum(arm.errors.values()), "place": place}
        for arm in comparison.arms
        for place, name in enumerate(order)
        if arm.errors.get(name)
    ]  # fmt: skip
    colour = {"field": "category", "type": "nominal", "scale": category_scale(order), "title": None}
    drawn = spec(
        rows,
        BAND * len({row["arm"] for row in rows}),
        params=[{"name": "picked", "select": {"type": "point", "fields": ["category"]}, "bind": "legend"}],
        mark={"type": "bar", "height": {"band": 0.72}},
        encoding={
            "y": {"field": "arm", "type": "nominal", "sort": names(comparison), "title": None},
            "x": {"field": "items", "type": "quantitative", "title": "items", "stack": "zero"},
            "color": {**colour, "legend": legend(3)},
            "order": {"field": "place"},
            "opacity": {"condition": {"param": "picked", "value": 1}, "value": 0.15},
            "tooltip": [{"field": "arm"}, {"field": "category"}, {"field": "items"},
                        {"field": "share", "format": ".1%"}],
        },
    )  # fmt: skip
    about = "Each answer's primary category. Click a category in the legend to single it out."
    return Chart("errors", "Errors by category and arm", about, drawn)


def fates(comparison: Comparison, data: ChartData) -> Chart | None:
    """For each arm the items that both it and the baseline have right, that it gained, lost, and that both have
    wrong."""
    counts: dict[tuple[str, str], int] = {}
    for move in data.moves:
        before, after = move.before == RIGHT, move.after == RIGHT
        fate = FATES[0] if before and after else FATES[1] if after else FATES[2] if before else FATES[3]
        counts[move.arm, fate] = counts.get((move.arm, fate), 0) + move.count
    if not counts:
        return None
    rows = [
        {"arm": one_line(arm), "fate": fate, "items": count, "place": FATES.index(fate)}
        for (arm, fate), count in counts.items()
    ]
    base = one_line(comparison.baseline)
    drawn = spec(
        rows,
        BAND * len({row["arm"] for row in rows}),
        mark={"type": "bar", "height": {"band": 0.72}},
        encoding={
            "y": {"field": "arm", "type": "nominal", "sort": names(comparison), "title": None},
            "x": {"field": "items", "type": "quantitative", "title": "items", "stack": "zero"},
            "color": {
                "field": "fate",
                "type": "nominal",
                "title": None,
                "scale": {"domain": list(FATES), "range": list(FATE_COLOURS)},
                "legend": legend(4),
            },
            "order": {"field": "place"},
            "tooltip": [{"field": "arm"}, {"field": "fate"}, {"field": "items"}],
        },
    )
    about = f"Gained: wrong with {base}, right with the arm. Lost: the other way round. Same items for both."
    return Chart("fates", f"Gained and lost against {base}", about, drawn)


def category_moves(comparison: Comparison, data: ChartData) -> Chart | None:
    """Category with the baseline against category with an arm that the reader chooses."""
    if not data.moves:
        return None
    counts: dict[str, int] = {}
    for move in data.moves:
        for name in (move.before, move.after):
            counts[name] = counts.get(name, 0) + move.count
    order = [category(name) for name in category_order(counts)]
    arms = [name for name in names(comparison) if any(one_line(move.arm) == name for move in data.moves)]
    chosen = one_line(comparison.verdict.arm or comparison.verdict.leader or "")
    base = one_line(comparison.baseline)
    rows = [
        {"arm": one_line(move.arm), "before": category(move.before), "after": category(move.after), "items": move.count}
        for move in data.moves
    ]
    befores = [name for name in order if any(row["before"] == name for row in rows)]
    afters = [name for name in order if any(row["after"] == name for row in rows)]
    first = chosen if chosen in arms else arms[-1]
    axes = {
        "y": {"field": "before", "type": "nominal", "scale": {"domain": befores}, "title": f"with {base}"},
        "x": {
            "field": "after",
            "type": "nominal",
            "scale": {"domain": afters},
            "title": "with the arm",
            "axis": {"labelAngle": -40},
        },
    }
    text: dict[str, Any] = {
        "mark": {"type": "text", "fontWeight": 600},
        "encoding": {
            "text": {"field": "items"},
            "color": {"condition": {"test": "datum.share > 0.5", "value": "#ffffff"}, "value": "#1b1b1b"},
        },
    }
    drawn = spec(
        rows,
        BAND * len(befores),
        params=[{"name": "arm", "value": first, "bind": {"input": "select", "options": arms, "name": "Arm: "}}],
        transform=[
            {"filter": "datum.arm == arm"},
            {"joinaggregate": [{"op": "max", "field": "items", "as": "most"}]},
            {"calculate": "datum.items / datum.most", "as": "share"},
        ],
        encoding=axes,
        layer=[
            {
                "mark": {"type": "rect", "cornerRadius": 3},
                "encoding": {
                    "color": {
                        "field": "share",
                        "type": "quantitative",
                        "legend": None,
                        "scale": {"domain": [0, 1], "range": ["#d7e6f2", "#0b5a8a"]},
                    },
                    "tooltip": [
                        {"field": "before", "title": f"with {base}"},
                        {"field": "after", "title": "with the arm"},
                        {"field": "items"},
                    ],
                },
            },
            text,
        ],
    )
    about = "How many items moved from one category (row) to another (column)."
    return Chart("moves", f"Transitions from {base}", about, drawn)


def training_curves(comparison: Comparison, data: ChartData) -> Chart | None:
    """Loss against optimiser steps, one line for each arm, seed and series."""
    rows = [
        {"arm": one_line(arm), "data": "validation" if "validation" in series else "training", "step": step,
         "loss": loss, "line": f"{one_line(arm)}/{seed}/{one_line(series)}", "seed": seed}
        for arm, seed, series, points in data.curves
        for step, loss in points
    ]  # fmt: skip
    if not rows:
        return None
    encoding: dict[str, Any] = {
        "x": {"field": "step", "type": "quantitative", "title": "step", "axis": {"tickMinStep": 1}},
        "y": {"field": "loss", "type": "quantitative", "title": "loss", "scale": {"zero": False, "nice": True}},
        "color": arm_colour(comparison, legend=legend()),
        "detail": {"field": "line"},
        "opacity": {"condition": {"param": "picked", "value": 1}, "value": 0.12},
        "tooltip": [{"field": "arm"}, {"field": "data"}, {"field": "seed"}, {"field": "step"},
                    {"field": "loss", "format": ".3f"}],
    }  # fmt: skip
    if len({row["data"] for row in rows}) > 1:
        scale = {"domain": ["training", "validation"], "range": [[1, 0], [5, 3]]}
        dash = {"field": "data", "type": "nominal", "title": None, "scale": scale, "legend": legend()}
        encoding["strokeDash"] = dash
    drawn = spec(
        rows,
        300,
        params=[{"name": "picked", "select": {"type": "point", "fields": ["arm"]}, "bind": "legend"}],
        mark={"type": "line", "strokeWidth": 2, "interpolate": "monotone", "point": len(rows) < 60},
        encoding=encoding,
    )
    return Chart("training", "Training curves", "Loss by step; click an arm in the legend to single it out.", drawn)
