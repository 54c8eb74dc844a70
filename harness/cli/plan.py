"""`harness plan FILE`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.options import console, limit_option, results_option


@click.command("plan")
@click.argument("file", type=click.Path(path_type=Path))
@limit_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@results_option
def command(file: Path, limit: int | None, as_json: bool, results: Path) -> None:
    """Say what running FILE would take: arms, trials, tokens, time, memory, money, smallest detectable difference.

    Loads the tokenizer, not the model. Times come from earlier trials in the results database where there are any.
    """
    from harness.report.forecast import render_forecast
    from harness.report.json import plain
    from harness.runner.forecast import forecast
    from harness.runner.prepare import prepare
    from harness.runner.provenance import machine_facts
    from harness.store.database import open_store
    from harness.store.history import past_trials

    prepared = prepare(file, limit=limit)
    past = []
    if results.is_file():
        with open_store(results, create=False) as store:
            past = past_trials(store, prepared.source.digest, machine_facts().get("processor"))
    found = forecast(prepared, past)
    if as_json:
        click.echo(json.dumps(plain(found.to_json()), indent=2, allow_nan=False))
    else:
        render_forecast(prepared.experiment.name, found, console())
        if more := prepared.size - len(prepared.plan.trials):
            click.echo(f"Not counted: {more} candidates of sweeps and points of learning curves.")
