"""Options that several verbs share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.local_code import LocalCode, LocalFile

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

local_code_option = click.option(
    "--no-local-code", is_flag=True, help="Refuse Python files that the experiment file names beside itself."
)


def local_code(file: Path, refused: bool) -> LocalCode:
    """What FILE may load; each Python file is named on standard error before it runs."""

    def announce(found: LocalFile) -> None:
        say(f"local code: {found.name} (sha256 {found.sha256[:12]})", err=True)

    return LocalCode(file.resolve().parent, allowed=not refused, announce=announce)


def say(text: object, *, err: bool = False) -> None:
    """Prints a text in which names, data or words of a model may stand: nothing of it may steer the terminal."""
    from harness.report.text import safe

    click.echo(safe(text), err=err)


def console(**settings: Any) -> Any:
    """A rich console on standard output; a pipe gets plain lines of the full width."""
    from rich.console import Console

    if not sys.stdout.isatty() and "width" not in settings:
        settings["width"] = 120
    return Console(**settings)
