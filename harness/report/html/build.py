"""Puts the page together: what it shows, escaped; its styles and scripts; and a policy that lets it fetch nothing.

Three layers keep untrusted text from becoming code. Jinja2 escapes what stands in the page; the browser code writes
text as text only (`textContent`); and the page's content security policy runs no script but the four whose digests it
names and opens no connection at all, so that even a mistake in the first two could neither run nor report anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

from harness.analysis.items import pick_items, transitions
from harness.analysis.result import Comparison
from harness.analysis.rows import RunRows
from harness.report import columns, summary, tuning
from harness.report.columns import Column
from harness.report.html.chart import Chart, ChartData
from harness.report.html.chart_costs import monthly_cost, quality_against_cost
from harness.report.html.chart_items import category_moves, error_categories, fates, training_curves
from harness.report.html.chart_learning import learning_curves
from harness.report.html.payload import ItemData, judged_items, pack
from harness.report.text import one_line
from harness.store.answers import item_answers, run_curves
from harness.store.database import Store

MOST_ITEMS = 1000
CHARTS = (quality_against_cost, error_categories, fates, category_moves, monthly_cost, training_curves, learning_curves)


@dataclass(frozen=True)
class PageData:
    """What the page shows beyond the comparison."""

    charts: ChartData = field(default_factory=ChartData)
    items: ItemData = field(default_factory=ItemData)


def page_data(store: Store, rows: RunRows) -> PageData:
    """Items, curves and transitions of a stored run."""
    run_id = str(rows.run["id"])
    picked = pick_items(rows, MOST_ITEMS)
    primary = next((metric for metric in rows.metrics if metric.name == rows.primary_metric), None)
    return PageData(
        ChartData(
            decision=rows.decision,
            hosting=rows.prices.usd_hosting_per_month,
            higher_is_better=primary is None or primary.higher_is_better,
            moves=transitions(rows),
            curves=run_curves(store, run_id),
        ),
        ItemData(picked, item_answers(store, run_id, picked.items), judged_items(rows, picked.items)),
    )


def to_html(comparison: Comparison, data: PageData | None = None) -> str:
    """The whole page. Without `data` there are no items and no charts that need more than the comparison."""
    from jinja2 import Environment, PackageLoader

    data = data or PageData()
    found = (draw(comparison, data.charts) for draw in CHARTS)
    charts = [chart for chart in found if chart is not None]
    items, shown = pack(data.items)
    environment = Environment(
        loader=PackageLoader("harness.report.html", "page"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    scripts = [plot_library(), *(_asset(name) for name in ("theme.js", "charts.js", "items.js"))]
    name, facts = summary.title(comparison)
    deciding, steps = summary.reasons(comparison)
    return environment.get_template("report.html").render(
        title=name,
        facts=facts,
        outcome=one_line(comparison.verdict.outcome),
        headline=summary.headline(comparison),
        figures=summary.figures(comparison),
        deciding=deciding,
        failures=summary.failures(comparison),
        tables=_tables(comparison),
        charts=charts,
        lists=_lists(comparison, steps),
        provenance=summary.provenance(comparison),
        commands=summary.commands(comparison),
        arms=[one_line(arm.name) for arm in comparison.arms],
        picked=data.items.picked,
        shown=shown,
        specs=_script_json({chart.id: chart.spec for chart in charts}),
        facts_json=_script_json(_facts(comparison)),
        items=items,
        style=_asset("report.css"),
        scripts=scripts,
        policy=_policy(scripts),
    )


@dataclass(frozen=True)
class Table:
    """One table: arms, then columns; `notes` stand below it."""

    heading: str
    columns: Sequence[Column]
    notes: Sequence[str] = ()


def _tables(comparison: Comparison) -> list[Table]:
    names = columns.names(comparison)
    scores = columns.status(comparison) + columns.primary(comparison) + columns.other_metrics(comparison)
    costs = columns.trade(comparison) + columns.quantities(comparison)
    detectable = summary.detectable(comparison)
    found = [
        Table("Scores", scores, [*columns.legend(comparison), *([detectable] if detectable else [])]),
        Table("Benchmarks", columns.benchmarks(comparison), columns.benchmark_legend(comparison)),
        Table("Cost and speed", costs, columns.cost_notes(comparison)),
        Table("Errors by category", columns.errors(comparison)),
        Table("Limits", columns.limits(comparison)),
        Table("Tuning", tuning.tuning(comparison), tuning.tuning_legend(comparison)),
    ]
    whole = [Table(table.heading, [names, *table.columns], table.notes) for table in found if table.columns]
    arms, points = tuning.curves(comparison)
    return [*whole, *([Table("Learning curve", [arms, *points])] if points else [])]


def _lists(comparison: Comparison, steps: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    every = [
        ("How this was decided", steps),
        ("With more training data", tuning.curve_sentences(comparison)),
        ("What would change it", [one_line(line) for line in comparison.verdict.would_flip]),
        ("Break-even", summary.break_evens(comparison)),
        ("What the data suggest", [one_line(line) for line in comparison.advice]),
        ("Take care", summary.warnings(comparison)),
    ]
    return [(heading, lines) for heading, lines in every if lines]


def _facts(comparison: Comparison) -> dict[str, Any]:
    """What the item table needs to know."""
    return {
        "arms": [one_line(arm.name) for arm in comparison.arms],
        "chosen": one_line(comparison.verdict.arm or comparison.verdict.leader or ""),
        "baseline": one_line(comparison.baseline),
        "metric": one_line(comparison.primary_metric),
    }


def _script_json(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache(maxsize=1)
def plot_library() -> str:
    """Vega, Vega-Lite and vega-embed as one script, out of the pip package that carries them."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _asset(name: str) -> str:
    return resources.files("harness.report.html").joinpath("page", name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


__all__ = ["Chart", "PageData", "page_data", "to_html"]
