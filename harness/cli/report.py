"""`harness report [RUN]`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import console, results_option


@click.command("report")
@click.argument("run", required=False)
@click.option(
    "--format", "form", type=click.Choice(["terminal", "markdown", "json"]), default="terminal", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write to a file instead of standard output.")
@results_option
def command(run: str | None, form: str, as_json: bool, output: Path | None, results: Path) -> None:
    """Print the comparison of RUN again: an id, the beginning of one, or an experiment's name; default the latest."""
    from harness.report.json import to_json_text
    from harness.report.markdown import to_markdown
    from harness.report.terminal import render
    from harness.runner.analyse import analyse
    from harness.store.database import open_store

    with open_store(results, create=False) as store:
        comparison = analyse(store, run)
    if as_json or form in ("json", "markdown"):
        markdown = form == "markdown" and not as_json
        text = (to_markdown(comparison) if markdown else to_json_text(comparison)).rstrip() + "\n"
        if output is None:
            click.echo(text, nl=False)
        else:
            output.write_text(text, encoding="utf-8")
    elif output is None:
        render(comparison, console())
    else:
        with output.open("w", encoding="utf-8") as file:
            render(comparison, console(file=file, width=120))
