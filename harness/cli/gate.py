"""`harness gate RUN --baseline RUN`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from harness.cli.options import console, results_option

EXIT_CODES = {"pass": 0, "fail": 1, "open": 4}


@click.command("gate")
@click.argument("run")
@click.option("--baseline", required=True, help="The run to hold it against: an id, the start of one, or a name.")
@click.option("--max-drop", type=click.FloatRange(min=0), default=0.02, show_default=True, help="The loss allowed.")
@click.option("--metric", help="The metric to judge by.  [default: the run's primary metric]")
@click.option("--arm", "arms", multiple=True, help="Judge this arm; may be repeated.  [default: arms in both runs]")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@results_option
def command(
    run: str, baseline: str, max_drop: float, metric: str | None, arms: tuple[str, ...], as_json: bool, results: Path
) -> None:
    """Fail when an arm of RUN is shown to be worse than in the baseline run by more than --max-drop.

    Exit code 0: no arm got worse by more. 1: an arm did, by its interval. 4: the evidence shows neither. Intervals are
    paired by item and hold for all arms together.
    """
    from harness.analysis.across import gate
    from harness.report.across import render_gate
    from harness.report.json import plain
    from harness.runner.across import load_across
    from harness.store.database import open_store

    with open_store(results, create=False) as store:
        result = gate(load_across(store, baseline, run, metric=metric, arms=arms), max_drop)
    if as_json:
        click.echo(json.dumps(plain(result.to_json()), indent=2, allow_nan=False))
    else:
        render_gate(result, console())
    sys.exit(EXIT_CODES[result.state])
