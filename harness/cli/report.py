"""`harness report [RUN]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from harness.cli.options import console, results_option

FORMATS = ("terminal", "markdown", "html", "json", "csv")


@click.command("report")
@click.argument("run", required=False)
@click.option("--format", "form", type=click.Choice(FORMATS), default="terminal", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write to a file instead of standard output.")
@results_option
def command(run: str | None, form: str, as_json: bool, output: Path | None, results: Path) -> None:
    """Print the comparison of RUN again: an id, the beginning of one, or an experiment's name; default the latest.

    --format html makes one page that needs no network: plots, and every arm's answers side by side.
    """
    from harness.report.terminal import render
    from harness.runner.analyse import load
    from harness.store.database import open_store

    form = "json" if as_json else form
    with open_store(results, create=False) as store:
        found = load(store, run)
        text = None if form == "terminal" else _as_text(form, found, store)
    if text is None:
        if output is None:
            render(found.comparison, console())
        else:
            with output.open("w", encoding="utf-8") as file:
                render(found.comparison, console(file=file, width=120))
    elif output is None:
        click.echo(text.rstrip())
    else:
        output.write_text(text.rstrip() + "\n", encoding="utf-8")


def _as_text(form: str, found: Any, store: Any) -> str:
    from harness.report.csv import to_csv
    from harness.report.json import to_json_text
    from harness.report.markdown import to_markdown

    if form == "html":
        from harness.report.html import page_data, to_html

        return to_html(found.comparison, page_data(store, found.rows))
    return {"markdown": to_markdown, "json": to_json_text, "csv": to_csv}[form](found.comparison)
