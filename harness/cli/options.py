"""Options that several verbs share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

results_option = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results/harness.db"),
    show_default=True,
    help="The results database.",
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Only N items of every split, evenly spread: a rehearsal."
)


def console(**settings: Any) -> Any:
    """A rich console on standard output; a pipe gets plain lines of the full width."""
    from rich.console import Console

    if not sys.stdout.isatty() and "width" not in settings:
        settings["width"] = 120
    return Console(**settings)
