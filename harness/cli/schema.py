"""`harness schema`."""

from __future__ import annotations

import json

import click


@click.command("schema")
def command() -> None:
    """Print a JSON Schema of the experiment file, with the settings of every installed plugin.

    Editors complete and check TOML files with it. Write it to a file, and begin the experiment file with
    the line  #:schema ./experiment.schema.json
    """
    from harness.experiment_schema import experiment_schema
    from harness.plugins import load_plugins

    click.echo(json.dumps(experiment_schema(load_plugins()), indent=2, ensure_ascii=False))
