"""Errors that people are meant to read: what went wrong, where, and the next thing to try."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HarnessError(Exception):
    """Base of all errors that the command line prints without a traceback.

    `hint` is the remedy; `exit_code` is what the process returns (2: the file or the call is wrong, 3: a trial failed).
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", exit_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class ConfigError(HarnessError):
    """One or more mistakes in an experiment file, reported together."""

    def __init__(self, problems: list[Problem], *, source: str = "") -> None:
        self.problems = problems
        self.source = source
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [f"{source}: {count}"] + [str(problem) for problem in problems]
        super().__init__("\n".join(lines))


class Problem:
    """One mistake: where it is, what it is, what would be right."""

    def __init__(self, message: str, *, key: str = "", line: int | None = None, hint: str = "") -> None:
        self.message, self.key, self.line, self.hint = message, key, line, hint

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line is not None else ""
        place = ", ".join(part for part in (place, self.key) if part)
        text = f"  {place}: {self.message}" if place else f"  {self.message}"
        return f"{text}\n      {self.hint}" if self.hint else text


class DataError(HarnessError):
    """Task data that cannot be used: a missing file or column, an empty split."""


class ModelError(HarnessError):
    """A model that cannot be found or loaded, or cannot do what an arm needs."""


class PluginError(HarnessError):
    """A plugin that is missing, broken, ambiguous, or broke its contract."""


class LeakError(HarnessError):
    """A prompt for a training or validation example would show that example's own answer."""

    exit_code = 3


class TrialError(HarnessError):
    """A trial failed; the others went on."""

    exit_code = 3


def nearest(name: str, names: Iterable[str], most: int | None = None) -> str:
    """A did-you-mean sentence, or the list of what exists (its first `most`)."""
    known = sorted(set(names))
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    shown = ", ".join(known[:most]) + (f" and {len(known) - most} more" if most and len(known) > most else "")
    return f"Known: {shown}." if known else "None is installed."
