"""The plan of a run for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.analysis.forecast import ArmForecast, Forecast
from harness.report import text

if TYPE_CHECKING:
    from rich.console import Console

_TIMES = {
    "earlier trials": "Time: as earlier trials of this model took on this kind of processor.",
    "rough": "Time: rough, perhaps off by several times: no earlier trial of this model on this machine is stored.",
    "unknown": "Time: unknown, because the size of the model is.",
}


def render_forecast(name: str, found: Forecast, console: Console) -> None:
    """Arms, totals, and what the test set can show."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    trials = sum(arm.trials for arm in found.arms)
    console.print(Text(text.one_line(name), style="bold"))
    size = f", {text.count(found.parameters)} parameters" if found.parameters else ""
    console.print(Text(f"{len(found.arms)} arms, {trials} trials, {found.items:,} test items{size}", style="dim"))
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    headers = ("arm", "trials", "tokens in", "tokens out", "trained on", "time", "memory", "one-off $", "$ / 1,000")
    for header in headers:
        grid.add_column(header, justify="left" if header == "arm" else "right", overflow="fold")
    for arm in found.arms:
        grid.add_row(*(Text(cell) for cell in _row(arm)))
    console.print(grid)
    about = "tokens out: at most, for arms that do not train; trained on: tokens read in training"
    console.print(Text(about, style="dim"))
    if found.seconds is not None:
        console.print(Text(f"All trials: about {text.seconds(found.seconds)}.", style="bold"))
    console.print(Text(_TIMES[found.time_basis], style="dim"))
    for line in power_lines(found):
        console.print(Text(line))


def _row(arm: ArmForecast) -> tuple[str, ...]:
    bound = "≥ " if arm.memory_basis == "at least" else ""
    one_off = "one_off_usd" in arm.cost.lower_bounds
    return (
        text.one_line(arm.arm),
        str(arm.trials),
        _tokens(arm.tokens_in),
        _tokens(arm.tokens_out),
        _tokens(arm.train_tokens),
        text.seconds(arm.seconds),
        f"{bound}{text.size(arm.memory_bytes)}",
        text.usd(arm.cost.one_off_usd, at_least=one_off),
        text.usd(arm.cost.usd_per_1k_requests, at_least="usd_per_1k_requests" in arm.cost.lower_bounds),
    )


def _tokens(value: float | None) -> str:
    return text.UNKNOWN if value is None else text.count(round(value))


def power_lines(found: Forecast) -> list[str]:
    """What this test set can show, by the verdict's own procedure."""
    groups = f" in {found.groups:,} groups" if found.groups else ""
    lines = []
    if found.detectable is None:
        lines.append(
            "How small a difference can be found is unknown: too few items or arms, or a metric without a range."
        )
    else:
        lines.append(
            f"With {found.items:,} items{groups} a lead of {found.detectable:.3f} is found as a win in 80 % of cases "
            f"(margin {found.margin:g}, all arms at once)."
        )
    if found.items_needed is not None:
        enough = "which it has" if found.items >= found.items_needed else f"it has {found.items:,}"
        lines.append(
            f"To show that equal arms tie within {found.margin:g} takes {found.items_needed:,} items; {enough}."
        )
    return lines
