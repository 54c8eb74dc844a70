"""What every chart of the HTML report shares. Charts are Vega-Lite specifications: plain data.

Text and grid take the page's colours when it is shown; arms and categories keep one colour over all charts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness import taxonomy
from harness.analysis.items import RIGHT, Transition
from harness.analysis.result import ArmResult, Comparison, Interval
from harness.analysis.rows import Decision
from harness.report.text import one_line

Spec = dict[str, Any]
Curves = Sequence[tuple[str, int, str, Sequence[tuple[int, float]]]]  # (arm, seed, series, [(step, loss)])

# Okabe & Ito's colours, which colour-blind people can tell apart, then darker ones of the same kind.
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8f7a00", "#6f4fa8", "#a0522d", "#7f7f7f",
)  # fmt: skip
RIGHT_COLOUR = "#009e73"
CATEGORY_PALETTE = (
    "#d55e00", "#e69f00", "#cc79a7", "#0072b2", "#56b4e9", "#8f7a00", "#6f4fa8", "#a0522d", "#b3457a", "#3f7f93",
    "#9a6a3a", "#5a6b2f", "#7f7f7f", "#404f7f",
)  # fmt: skip


@dataclass(frozen=True)
class Chart:
    """One figure: `about` says in a sentence how to read it, `missing` what is not in it."""

    id: str
    title: str
    about: str
    spec: Spec
    missing: str = ""


@dataclass(frozen=True)
class ChartData:
    """What charts need besides the comparison itself. `hosting`: US dollars a month, None where no price was given."""

    decision: Decision = field(default_factory=Decision)
    hosting: float | None = None
    higher_is_better: bool = True
    moves: Sequence[Transition] = ()
    curves: Curves = ()


def spec(values: list[dict[str, Any]], height: int, **rest: Any) -> Spec:
    """A specification as wide as its place on the page; `height` in pixels."""
    autosize = {"type": "fit-x", "contains": "padding"}
    return {"width": "container", "autosize": autosize, "height": height, "data": {"values": values}, **rest}


def log_ticks(low: float, high: float, steps: tuple[int, ...] = (1,)) -> list[float]:
    """Powers of ten (times `steps`) from low to high: a logarithmic axis with a line at each of 2..9 is a thicket."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = (step * 10.0**power for power in range(first, last + 1) for step in steps)
    return [tick for tick in ticks if low <= tick <= high]


def names(comparison: Comparison) -> list[str]:
    return [one_line(arm.name) for arm in comparison.arms]


def arm_colour(comparison: Comparison, **more: Any) -> Spec:
    """The colour encoding of the field "arm"."""
    colours = [PALETTE[place % len(PALETTE)] for place in range(len(comparison.arms))]
    scale = {"domain": names(comparison), "range": colours}
    return {"field": "arm", "type": "nominal", "scale": scale, "title": None, **more}


def legend(columns: int = 3) -> Spec:
    return {"orient": "bottom", "columns": columns, "labelLimit": 150}


def score(comparison: Comparison, arm: ArmResult) -> Interval:
    return arm.metrics.get(comparison.primary_metric, Interval(None))


def category(name: str) -> str:
    """A category as people read it."""
    return one_line(name).replace("_", " ")


def category_order(counts: Mapping[str, int]) -> list[str]:
    """Correct first, then by frequency; equals in the taxonomy's order. Categories that never occur are left out."""
    rank = {name: place for place, name in enumerate(taxonomy.ORDER)}
    return sorted(
        (name for name in counts if counts[name]),
        key=lambda name: (name != RIGHT, -counts[name], rank.get(name, len(rank)), name),
    )


def category_scale(order: Sequence[str]) -> Spec:
    others = [name for name in order if name != RIGHT]
    colours = {name: CATEGORY_PALETTE[place % len(CATEGORY_PALETTE)] for place, name in enumerate(others)}
    return {"domain": [category(name) for name in order], "range": [colours.get(name, RIGHT_COLOUR) for name in order]}
