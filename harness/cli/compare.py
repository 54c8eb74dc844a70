"""`harness compare RUN RUN`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.options import console, results_option


@click.command("compare")
@click.argument("before", metavar="RUN")
@click.argument("after", metavar="RUN")
@click.option("--metric", help="The metric to compare by.  [default: the later run's primary metric]")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@results_option
def command(before: str, after: str, metric: str | None, as_json: bool, results: Path) -> None:
    """Compare two runs arm by arm: what changed from the first RUN to the second, paired by item.

    Arms are matched by name. Only test items whose content is the same in both runs count.
    """
    from harness.report.across import render_across
    from harness.report.json import plain
    from harness.runner.across import load_across
    from harness.store.database import open_store

    with open_store(results, create=False) as store:
        found = load_across(store, before, after, metric=metric)
    if as_json:
        click.echo(json.dumps(plain(found.to_json()), indent=2, allow_nan=False))
    else:
        render_across(found, console())
