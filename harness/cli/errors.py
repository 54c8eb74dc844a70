"""`harness errors [RUN]`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import console, results_option


@click.command("errors")
@click.argument("run", required=False)
@click.option("--arm", help="One arm: its categories, what it fixed and broke, its slices.")
@click.option("--category", help="Typical answers of one category.")
@click.option("--by", multiple=True, metavar="FIELD", help="Slice by a field, length, gold or group; may be repeated.")
@click.option("--count", type=click.IntRange(min=1), default=5, show_default=True, help="With --category: examples.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@results_option
def command(
    run: str | None,
    arm: str | None,
    category: str | None,
    by: tuple[str, ...],
    count: int,
    as_json: bool,
    results: Path,
) -> None:
    """What went wrong in RUN: categories by arm and slice, what each arm fixed and broke against the baseline, and
    typical answers of a category. RUN defaults to the latest run."""
    from harness.report.errors import Question, error_report, render, to_json_text
    from harness.store.database import open_store
    from harness.store.errors import run_errors

    with open_store(results, create=False) as store:
        report = error_report(run_errors(store, run), Question(arm, category, by, count))
    if as_json:
        click.echo(to_json_text(report))
    else:
        render(report, console())
