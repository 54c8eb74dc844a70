"""A comparison as Markdown, for a pull request or a wiki. Same cells and sentences as the terminal report."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.analysis.result import Comparison
from harness.report import columns, summary, trivial, tuning
from harness.report.columns import Column
from harness.report.text import one_line

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~$!&])")


def to_markdown(comparison: Comparison) -> str:
    """GitHub-flavoured Markdown; everything from data, models or people is escaped."""
    name, facts = summary.title(comparison)
    names = columns.names(comparison)
    deciding, steps = summary.reasons(comparison)
    verdict = [summary.headline(comparison), summary.figures(comparison), *deciding]
    scores = columns.status(comparison) + columns.primary(comparison) + columns.other_metrics(comparison)
    notes = [*columns.legend(comparison), summary.detectable(comparison)]
    costs = columns.trade(comparison) + columns.quantities(comparison)
    blocks = [
        f"# {escape(name)}",
        escape(" · ".join(facts)),
        "\n".join(f"> {escape(line)}  " for line in verdict if line),
        _list("Failed", summary.failures(comparison)),
        _table("Scores", names, scores),
        "  \n".join(escape(note) for note in notes if note),
        _table(trivial.HEADING, *trivial.of_comparison(comparison)),
        _table("Errors by category", names, columns.errors(comparison)),
        _table("Benchmarks", names, columns.benchmarks(comparison)),
        "  \n".join(escape(note) for note in columns.benchmark_legend(comparison)),
        _table("Cost and speed", names, costs),
        "  \n".join(escape(note) for note in columns.cost_notes(comparison)),
        _table("Limits", names, columns.limits(comparison)),
        _table("Tuning", names, tuning.tuning(comparison)),
        "  \n".join(escape(note) for note in tuning.tuning_legend(comparison)),
        _table("Learning curve", *tuning.curves(comparison)),
        _list("With more training data", tuning.curve_sentences(comparison)),
        _list("How this was decided", steps),
        _list("What would change it", comparison.verdict.would_flip),
        _list("Break-even", summary.break_evens(comparison)),
        _list("What the data suggest", comparison.advice),
        _list("Take care", summary.warnings(comparison)),
        escape(" · ".join(summary.provenance(comparison))),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escape(line: str) -> str:
    """Text that Markdown and HTML take literally, on one line."""
    return _SPECIAL.sub(r"\\\1", one_line(line))


def _table(heading: str, name: Column, wanted: Sequence[Column]) -> str:
    if not wanted:
        return ""
    table = [name, *wanted]
    rows = [[escape(column.header) for column in table], [":--" if column.left else "--:" for column in table]]
    for place in range(len(name.cells)):
        cells = [(escape(column.cells[place]), place in column.strong) for column in table]
        rows.append([f"**{cell}**" if strong else cell for cell, strong in cells])
    return f"## {heading}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _list(heading: str, lines: Sequence[str]) -> str:
    return f"## {heading}\n\n" + "\n".join(f"- {escape(line)}" for line in lines) if lines else ""
