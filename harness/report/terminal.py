"""A comparison as a technical lead reads it in a terminal: verdict first, then scores, errors, costs, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.analysis.result import Comparison
from harness.report import columns, summary, trivial, tuning
from harness.report.columns import Column
from harness.report.text import one_line

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2  # spaces between columns; one of them is the box's own
_COLOURS = {"win": "green", "tie": "cyan", "insufficient": "yellow"}


def render(comparison: Comparison, console: Console) -> None:
    """Prints the whole report. Everything that came from data, models or people is printed as plain text."""
    _head(comparison, console)
    _verdict(comparison, console)
    _tables(comparison, console)
    _lists(comparison, console)
    _foot(comparison, console)


def _head(comparison: Comparison, console: Console) -> None:
    from rich.text import Text

    name, facts = summary.title(comparison)
    console.print()
    console.print(Text(name, style="bold"))
    _print_parts(facts, console)


def _verdict(comparison: Comparison, console: Console) -> None:
    from rich.panel import Panel
    from rich.text import Text

    colour = _COLOURS.get(comparison.verdict.outcome, "yellow")
    box = Text(summary.headline(comparison), style=f"bold {colour}")
    deciding, _ = summary.reasons(comparison)
    for line in filter(None, [summary.figures(comparison), *deciding]):
        box.append(f"\n{line}", style="not bold default")
    console.print(Panel(box, border_style=colour, width=min(console.width, 110), title_align="left"))
    for failure in summary.failures(comparison):
        console.print(Text(f"✗ {failure}", style="red"))


def _tables(comparison: Comparison, console: Console) -> None:
    name = columns.names(comparison)
    others, trade = columns.other_metrics(comparison), columns.trade(comparison)
    main = [*columns.status(comparison), *columns.primary(comparison)]
    # Beside the deciding score stands what it is weighed against: cost and speed, then further metrics, as they fit.
    beside: list[Column] = []
    for column in (*sorted(trade, key=lambda column: column.rank), *others):
        if _width([name, *main, *beside, column], console) <= console.width:
            beside.append(column)
    main += [column for column in (*others, *trade) if column in beside]
    _flow("Scores", name, main, console)
    _print_parts(columns.legend(comparison), console)
    _print_dim(summary.detectable(comparison), console)
    _flow(trivial.HEADING, *trivial.of_comparison(comparison), console)
    _flow("Other scores", name, [column for column in others if column not in beside], console)
    _flow("Errors by category", name, columns.errors(comparison), console)
    _flow("Benchmarks", name, columns.benchmarks(comparison), console)
    _print_parts(columns.benchmark_legend(comparison), console)
    costs = [column for column in trade if column not in beside] + columns.quantities(comparison)
    _flow("Cost and speed", name, costs, console)
    for note in columns.cost_notes(comparison):
        _print_dim(note, console)
    _flow("Limits", name, columns.limits(comparison), console)
    _flow("Tuning", name, tuning.tuning(comparison), console)
    _print_parts(tuning.tuning_legend(comparison), console)
    _flow("Learning curve", *tuning.curves(comparison), console)


def _flow(heading: str, name: Column, wanted: Sequence[Column], console: Console) -> None:
    """One table if it fits, else several that each begin with the arms."""
    for number, table in enumerate(pack(name, wanted, console)):
        _print_table(heading if number == 0 else f"{heading}, continued", table, console)


def pack(name: Column, wanted: Sequence[Column], console: Console) -> list[list[Column]]:
    """Columns in order, on as few tables as the width asks for; each begins with `name`."""
    tables: list[list[Column]] = [[name]]
    for column in wanted:
        if len(tables[-1]) > 1 and _width([*tables[-1], column], console) > console.width:
            tables.append([name])
        tables[-1].append(column)
    return [table for table in tables if len(table) > 1]


def _width(table: Sequence[Column], console: Console) -> int:
    return sum(_column_width(column, console) for column in table) + _GAP * (len(table) - 1)


def _column_width(column: Column, console: Console) -> int:
    from rich.cells import cell_len

    widest = max(cell_len(line) for cell in (column.header, *column.cells) for line in cell.split("\n"))
    return min(widest, _longest_name(console)) if column.left else widest


def _longest_name(console: Console) -> int:
    """Longer names fold over several lines; they are never cut."""
    return max(16, console.width // 4) if console.is_terminal else max(40, console.width // 3)


def _print_table(heading: str, table: Sequence[Column], console: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for column in table:
        grid.add_column(
            Text(column.header),
            justify="left" if column.left else "right",
            overflow="fold",
            no_wrap=not column.left,
            width=min(_column_width(column, console), console.width),
            vertical="top",
        )
    for row in range(len(table[0].cells)):
        cells = [Text(column.cells[row], style="bold" if row in column.strong else "") for column in table]
        grid.add_row(*cells)
    console.print()
    console.print(Text(heading, style="bold underline"))
    console.print(grid)


def _lists(comparison: Comparison, console: Console) -> None:
    _, steps = summary.reasons(comparison)
    _bullets("How this was decided", steps, console)
    _bullets("With more training data", tuning.curve_sentences(comparison), console)
    _bullets("What would change it", comparison.verdict.would_flip, console)
    _bullets("Break-even", summary.break_evens(comparison), console)
    _bullets("What the data suggest", comparison.advice, console)
    _bullets("Take care", summary.warnings(comparison), console, style="yellow")


def _bullets(heading: str, lines: Sequence[str], console: Console, style: str = "") -> None:
    from rich.text import Text

    if not lines:
        return
    console.print()
    console.print(Text(heading, style=f"bold {style}".strip()))
    shown = [one_line(line) for line in lines[: summary.MOST_LINES]]
    if len(lines) > summary.MOST_LINES:
        shown.append(f"and {len(lines) - summary.MOST_LINES} more: see --json")
    for line in shown:
        for number, part in enumerate(Text(line).wrap(console, max(20, console.width - 3))):
            part.rstrip()
            console.print(Text(" - " if number == 0 else "   ") + part)


def _foot(comparison: Comparison, console: Console) -> None:
    from rich.text import Text

    console.print()
    _print_parts(summary.provenance(comparison), console)
    for command, meaning in summary.commands(comparison):
        # A command is copied: it must not be broken over lines by us.
        console.print(Text("  ") + Text(command, style="cyan") + Text(f"  {meaning}", style="dim"), soft_wrap=True)


def _print_parts(parts: Sequence[str], console: Console) -> None:
    """Short facts side by side; a line breaks between them, not inside one."""
    from rich.cells import cell_len

    line = ""
    for part in parts:
        if line and cell_len(f"{line} · {part}") > console.width:
            _print_dim(line, console)
            line = part
        else:
            line = f"{line} · {part}" if line else part
    _print_dim(line, console)


def _print_dim(line: str, console: Console) -> None:
    from rich.text import Text

    if line:
        console.print(Text(line, style="dim", overflow="fold"))
