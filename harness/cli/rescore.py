"""`harness rescore [RUN]`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import local_code, local_code_option, results_option, say


@click.command("rescore")
@click.argument("run", required=False)
@click.option("--file", type=click.Path(path_type=Path), help="An experiment file: its metrics, evals and categories.")
@click.option("--metric", multiple=True, metavar="NAME", help="A further metric; may be repeated.")
@local_code_option
@results_option
def command(run: str | None, file: Path | None, metric: tuple[str, ...], no_local_code: bool, results: Path) -> None:
    """Apply new metrics and classifiers, or new versions of them, to the stored outputs of RUN. No model runs. The run
    shows the new scores from then on; old ones stay in the database with their versions."""
    from harness.config import load_experiment
    from harness.plugins import load_plugins
    from harness.runner.rescore import rescore
    from harness.store.database import open_store

    registry = load_plugins()
    experiment = load_experiment(file, registry, local_code(file, no_local_code)) if file is not None else None
    with open_store(results) as store:
        done = rescore(
            store,
            run,
            registry,
            experiment=experiment,
            metrics=metric,
            progress=lambda text: say(f"rescoring {text}", err=True),
        )
    say(f"{done.run.name}, run {done.run.id}")
    new = {name: count for name, count in done.judged.items() if count}
    for name, count in new.items():
        say(f"  {name}: {count:,} answers judged")
    if not new:
        say("  nothing new: all scores are there in their present versions")
    for note in done.notes:
        say(f"  note: {note}")
    say(f"  harness report {done.run.id}  shows it; old scores stay")
