"""Two runs against each other, and the gate, for the terminal. Text from data is printed as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.analysis.across import Across, ArmAcross, GateResult
from harness.report import text

if TYPE_CHECKING:
    from rich.console import Console

_STATES = {"pass": ("passed", "green"), "fail": ("failed", "red"), "open": ("open: more evidence is needed", "yellow")}


def render_across(found: Across, console: Console) -> None:
    """A table with one row an arm, then what weakens the comparison."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print()
    console.print(Text(f"{_name(found.before)} → {_name(found.after)}", style="bold"))
    metric = text.one_line(found.metric)
    console.print(Text(f"{metric} on {found.items:,} common test items; change: after minus before", style="dim"))
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for header in ("arm", "before", "after", "change", "95 % interval", "p"):
        grid.add_column(header, justify="left" if header == "arm" else "right", overflow="fold")
    for arm in found.arms:
        grid.add_row(*(Text(cell) for cell in _row(arm)))
    if found.arms:
        console.print(grid)
    for arm in found.arms:
        if arm.note:
            console.print(Text(f"{text.one_line(arm.arm)}: {arm.note}", style="yellow"))
    for names, where in ((found.only_before, "before"), (found.only_after, "after")):
        if names:
            console.print(Text(f"only in the run {where}: {', '.join(map(text.one_line, names))}", style="dim"))
    for note in found.notes:
        console.print(Text(text.one_line(note), style="yellow"))


def _row(arm: ArmAcross) -> tuple[str, ...]:
    change = arm.change
    return (
        text.one_line(arm.arm),
        text.score(arm.before.value),
        text.score(arm.after.value),
        text.UNKNOWN if change is None else text.score(change.value, signed=True),
        text.UNKNOWN if change is None else text.interval(change.low, change.high),
        text.UNKNOWN if change is None else text.p_value(change.p),
    )


def _name(run: Mapping[str, Any]) -> str:
    return f"{text.one_line(run.get('name') or '')} ({text.one_line(run.get('id') or '')})"


def render_gate(result: GateResult, console: Console) -> None:
    """One line an arm, then the outcome."""
    from rich.text import Text

    for check in result.checks:
        _, colour = _STATES[check.state]
        mark = {"pass": "✓", "fail": "✗", "open": "?"}[check.state]
        console.print(Text(f"{mark} {text.one_line(check.arm)}: {text.one_line(check.reason)}", style=colour))
    for note in result.across.notes:
        console.print(Text(text.one_line(note), style="yellow"))
    words, colour = _STATES[result.state]
    console.print(Text(f"gate {words}", style=f"bold {colour}"))
