"""`harness plugins list|show|test|new`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from harness.plugins import KINDS, load_plugins

COLUMNS = ("kind", "name", "origin", "state", "summary")


@click.group("plugins", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """Every plugin: kind, name, origin, state. Without a command: list."""
    if context.invoked_subcommand is None:
        _list(None, as_json)


@command.command("list")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only plugins of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def list_command(kind: str | None, as_json: bool) -> None:
    """List every plugin, and every package that could not be loaded with the reason."""
    _list(kind, as_json)


def _list(only: str | None, as_json: bool) -> None:
    registry = load_plugins()
    rows: list[dict[str, Any]] = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "summary": entry.spec.summary,
            "origin": str(entry.origin),
            "state": entry.origin.state,
        }
        for kind in KINDS
        for entry in registry.of_kind(kind)
        if only in (None, kind)
    ]
    rows += [
        {"kind": "package", "name": origin.name, "summary": "", "origin": str(origin), "state": origin.state}
        for origin in registry.origins
        if not origin.ok
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    # Aligned by hand: importing a table library would take longer than finding the plugins.
    widths = {
        name: max(len(name), *(len(str(row[name])) for row in rows if row["kind"] != "package"), 0)
        for name in COLUMNS[:-1]
    }
    for row in [{name: name.upper() for name in COLUMNS}, *rows]:
        click.echo("  ".join(str(row[name]).ljust(widths.get(name, 0)) for name in COLUMNS).rstrip())


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def show_command(name: str, as_json: bool) -> None:
    """Everything about the plugin NAME: origin, state, what it needs, settings with types and defaults.

    NAME may be qualified by its distribution, as in my-package:name.
    """
    from harness.plugin_reference import described, find

    plugins = [described(entry) for entry in find(load_plugins(), name)]
    if as_json:
        click.echo(json.dumps(plugins, indent=2, ensure_ascii=False))
        return
    for plugin in plugins:
        click.echo(f"{plugin['kind']} {plugin['name']}: {plugin['summary']}")
        click.echo(f"  origin    {plugin['origin']}, {plugin['target']}")
        click.echo(f"  state     {plugin['state']}")
        for fact, value in plugin["facts"].items():
            click.echo(f"  {fact:<9} {value}")
        if plugin["doc"]:
            click.echo("\n" + "\n".join(f"  {line}".rstrip() for line in plugin["doc"].splitlines()))
        if plugin["settings"]:
            click.echo("\n  settings")
        for setting in plugin["settings"]:
            click.echo(f"    {setting['name']} ({setting['type']}; {setting['default']}): {setting['doc']}")


@command.command("test")
@click.argument("package")
@click.option("--settings", default="{}", help='Settings by plugin, as JSON: {"my-metric": {"pattern": "x"}}.')
def test_command(package: str, settings: str) -> None:
    """Run the contract suites over every plugin of PACKAGE, the name of an installed distribution or a local .py file.

    Exit code 1 when a promise is broken.
    """
    from harness.testing.command import run_suites

    try:
        chosen = json.loads(settings)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="--settings") from None
    if not isinstance(chosen, dict):
        raise click.BadParameter("must be a JSON object", param_hint="--settings")
    raise SystemExit(run_suites(package, chosen, click.echo))


@command.command("new")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["strategy", "metric", "retriever"]),
    default="strategy",
    show_default=True,
    help="What the package provides.",
)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("."), show_default=True, help="Where it goes.")
def new_command(name: str, kind: str, folder: Path) -> None:
    """Write a package NAME that installs, passes its tests and runs in an experiment at once."""
    from harness.scaffold import write_package

    written = write_package(name, kind, folder)
    click.echo(f"wrote {written}: a {kind} with its test and an experiment. Next:")
    click.echo(f"  cd {written}\n  pip install -e .\n  harness plugins test {name}\n  harness run experiment.toml")
