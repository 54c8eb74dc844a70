"""Live progress of a run: bars with rate and time left on a terminal, plain lines on a pipe."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from harness.report.text import one_line, safe


class Display(Protocol):
    def __enter__(self) -> Display: ...
    def __exit__(self, *exc: object) -> None: ...
    def begin(self, arm: str, seed: int, number: int, total: int) -> None: ...
    def progress(self, value: Mapping[str, Any]) -> None: ...
    def end(self, status: str, seconds: float | None, detail: str = "") -> None: ...
    def note(self, text: str) -> None: ...


class PlainDisplay:
    """One line for what begins and ends, and at most one every `every_s` seconds between."""

    def __init__(self, write: Any, every_s: float = 10.0) -> None:
        self.write, self.every_s = write, every_s
        self.label, self.last = "", 0.0

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def begin(self, arm: str, seed: int, number: int, total: int) -> None:
        self.label, self.last = f"[{number}/{total}] {arm}, seed {seed}", time.monotonic()
        self.write(f"{self.label}: started")

    def progress(self, value: Mapping[str, Any]) -> None:
        if time.monotonic() - self.last >= self.every_s:
            self.last = time.monotonic()
            note = f"  {value['note']}" if value.get("note") else ""
            self.write(f"{self.label}: {value['phase']} {value['done']}/{value['total']}{note}")

    def end(self, status: str, seconds: float | None, detail: str = "") -> None:
        took = f" in {seconds:.0f} s" if seconds is not None else ""
        self.write(f"{self.label}: {status}{took}" + (f" - {detail}" if detail else ""))

    def note(self, text: str) -> None:
        self.write(text)


class LiveDisplay:
    """Rich bars: one for the trials, one for the phase that is running."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = console
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
        )
        self.phase: Any = None
        self.trials: Any = None
        self.name = ""
        self.label = ""
        self.started, self.done_before = 0.0, 0

    def __enter__(self) -> LiveDisplay:
        self.bars.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bars.stop()

    def begin(self, arm: str, seed: int, number: int, total: int) -> None:
        self.label = one_line(f"{arm} (seed {seed})")
        if self.trials is None:
            self.trials = self.bars.add_task("trials", total=total, rate="", note="")
        self.bars.update(self.trials, completed=number - 1, description="trials", note=self.label)
        self._phase("loading", 1, 0)

    def _phase(self, name: str, total: int, done: int) -> None:
        if self.phase is not None:
            self.bars.remove_task(self.phase)
        self.name, self.started, self.done_before = name, time.monotonic(), done
        self.phase = self.bars.add_task(f"  {name}", total=total, rate="", note="")

    def progress(self, value: Mapping[str, Any]) -> None:
        if value["phase"] != self.name:
            self._phase(value["phase"], value["total"], value["done"])
        done = value["done"] - self.done_before
        rate = f"{done / max(time.monotonic() - self.started, 1e-6):.1f}/s" if done else ""
        self.bars.update(
            self.phase,
            completed=value["done"],
            total=value["total"],
            rate=rate,
            note=one_line(value.get("note", "")),
        )

    def end(self, status: str, seconds: float | None, detail: str = "") -> None:
        from rich.text import Text

        if self.phase is not None:
            self.bars.remove_task(self.phase)
            self.phase = None
        if self.trials is not None:
            self.bars.advance(self.trials)
        style, mark = {"done": ("green", "✓"), "stored": ("dim", "✓")}.get(status, ("red", "✗"))
        took = f"  {seconds:.0f} s" if seconds is not None else ""
        words = "" if status == "done" else f"  {status}"
        line = Text(f"{mark} ", style=style) + Text(f"{self.label}{words}{took}", style="")
        if detail:
            line += Text(f"\n  {safe(detail)}", style="red")
        self.console.print(line)

    def note(self, text: str) -> None:
        from rich.text import Text

        self.console.print(Text(safe(text), style="yellow"))
