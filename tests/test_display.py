"""Progress: bars with rate on a terminal, plain lines on a pipe."""

from __future__ import annotations

import io

from rich.console import Console

from harness.runner.display import Display, LiveDisplay, PlainDisplay


def play(display: Display) -> None:
    with display:
        display.begin("rag", 0, 1, 2)
        for done in (0, 3, 8):
            display.progress({"phase": "predict", "done": done, "total": 8, "note": "[red]loss 1.0"})
        display.note("note: [b]plain[/b]")
        display.end("done", 2.4)
        display.begin("lora", 0, 2, 2)
        display.end("failed", None, "it broke [/x]")


def test_plain_lines_name_trial_phase_and_end() -> None:
    lines: list[str] = []
    play(PlainDisplay(lines.append, every_s=0))
    assert lines[0] == "[1/2] rag, seed 0: started"
    assert "[1/2] rag, seed 0: predict 3/8  [red]loss 1.0" in lines
    assert "[1/2] rag, seed 0: done in 2 s" in lines
    assert lines[-1] == "[2/2] lora, seed 0: failed - it broke [/x]"


def test_a_pipe_is_not_flooded() -> None:
    lines: list[str] = []
    play(PlainDisplay(lines.append, every_s=60))
    assert not [line for line in lines if "predict" in line]


def test_bars_survive_markup_and_say_what_ended() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    play(LiveDisplay(console))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "rag (seed 0)" in text and "predict" in text and "it broke [/x]" in text
