"""The command line. One module a verb, imported only when that verb is called: `harness --help` answers at once."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from harness.exceptions import HarnessError

#: verb -> one line of help; the module of the same name holds a click command called `command`.
VERBS = {
    "check": "Validate an experiment file: settings, plugins, data, model. Loads no model.",
    "plan": "Say what a run would take: time, tokens, memory, money, and what it could detect.",
    "run": "Run an experiment; the same command again resumes.",
    "report": "Print the comparison of a run again, or write it as a page, Markdown, JSON or CSV.",
    "compare": "Compare two runs arm by arm, paired by item.",
    "gate": "Fail when a run is shown to be worse than another.",
    "errors": "What went wrong: error categories by arm and slice, what changed, typical answers.",
    "rescore": "Apply new metrics and classifiers to stored outputs; no model runs.",
    "show": "Everything about one answer, or the training examples as the model sees them.",
    "plugins": "List, show, test and begin plugins.",
    "schema": "Print a JSON Schema of the experiment file, for editors.",
}


class _Verbs(click.Group):
    """Lists verbs without importing them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"harness.cli.{name}").command
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in VERBS:
            from harness.exceptions import nearest

            context.fail(f"no command '{name}'. {nearest(name, VERBS)}")
        return super().resolve_command(context, args)


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="adaptation-harness", prog_name="harness")
def cli() -> None:
    """Prompt, retrieve or fine-tune? Compare adaptations of a language model on your task, with costs and intervals."""


def main() -> None:
    """Runs the command line; errors meant for people are printed without a traceback."""
    try:
        cli(standalone_mode=False)
    except HarnessError as error:
        from harness.cli.options import say

        say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; the same command continues.", err=True)
        sys.exit(130)
    except BrokenPipeError:  # `harness report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
