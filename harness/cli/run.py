"""`harness run FILE`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import console, limit_option, local_code, local_code_option, results_option, say


@click.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@results_option
@limit_option
@local_code_option
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON instead of tables.")
def command(file: Path, results: Path, limit: int | None, no_local_code: bool, as_json: bool) -> None:
    """Run the experiment in FILE, store everything in the results database and print the comparison.

    The same command again repeats no finished trial: it continues an interrupted run, or prints a finished one.
    """
    from harness.exceptions import TrialError
    from harness.report.json import to_json_text
    from harness.report.terminal import render
    from harness.runner.coordinator import run_experiment
    from harness.runner.display import Display, LiveDisplay, PlainDisplay
    from harness.runner.prepare import prepare

    prepared = prepare(file, limit=limit, download=True, code=local_code(file, no_local_code))
    progress = console(stderr=True)
    display: Display = LiveDisplay(progress) if progress.is_terminal else PlainDisplay(lambda text: say(text, err=True))
    task, plan = prepared.task, prepared.plan
    say(
        f"{prepared.experiment.name}: {prepared.size} trials, {len(task.test)} test items, "
        f"{prepared.source.label}, {plan.dtype} on {plan.device}",
        err=True,
    )
    for warning in task.warnings:
        say(f"warning: {warning}", err=True)
    outcome = run_experiment(prepared, results, display)
    if as_json:
        click.echo(to_json_text(outcome.comparison))
    else:
        render(outcome.comparison, console())
    sys.stdout.flush()
    if outcome.failed:
        raise TrialError(
            f"{outcome.failed} of {prepared.size} trials failed; the others are stored.",
            hint="The same command tries them again.",
        )
