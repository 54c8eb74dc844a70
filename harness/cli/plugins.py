"""`harness plugins`."""

from __future__ import annotations

import json
from typing import Any

import click

from harness.plugins import KINDS, load_plugins


@click.command("plugins")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
def command(as_json: bool) -> None:
    """List every plugin: kind, name, origin, state."""
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
    ]
    rows += [
        {"kind": "package", "name": origin.name, "summary": "", "origin": str(origin), "state": origin.state}
        for origin in registry.origins
        if not origin.ok
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    from harness.cli.options import console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("kind", "name", "origin", "state", "summary"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(row[column])) for column in ("kind", "name", "origin", "state", "summary")))
    console().print(table)
