"""A promise: one sentence that every plugin of a kind keeps, and the check that proves it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.exceptions import HarnessError
from harness.plugins import Registered, Registry


class Broken(AssertionError):
    """A promise was broken; the text goes on after the plugin's name."""


class NotApplicable(Exception):
    """A promise that cannot be put to the test here, with the reason."""


@dataclass(frozen=True)
class Subject:
    """The plugin under test with the settings it is tested with."""

    entry: Registered
    registry: Registry
    settings: dict[str, Any] = field(default_factory=dict)

    def create(self) -> Any:
        return self.entry.create(dict(self.settings))

    @property
    def spec(self) -> Any:
        return self.entry.spec


Check = Callable[[Subject], None]

#: kind -> its promises, in the order in which they are checked; "any" holds for all kinds,
#: "settings" for all that have settings.
PROMISES: dict[str, list[Check]] = {}


def promise(*kinds: str) -> Callable[[Check], Check]:
    """Marks a check as a promise of these kinds; its docstring is the promise, in one sentence."""

    def mark(check: Check) -> Check:
        for kind in kinds:
            PROMISES.setdefault(kind, []).append(check)
        return check

    return mark


@dataclass(frozen=True)
class Promise:
    """One promise of one plugin. Call it: `Broken` when it is broken, `NotApplicable` when it cannot be tested.

    It runs in an empty temporary folder, so that plugins that write leave nothing behind.
    """

    subject: Subject
    check: Check

    @property
    def name(self) -> str:
        return self.check.__name__

    @property
    def sentence(self) -> str:
        return " ".join((self.check.__doc__ or "").split())

    def __str__(self) -> str:
        return f"{self.subject.entry.name}-{self.name}"

    def __call__(self) -> None:
        entry = self.subject.entry
        here = os.getcwd()
        try:
            with tempfile.TemporaryDirectory() as folder, chdir(folder):
                self.check(self.subject)
        except NotApplicable:
            raise
        except Broken as error:
            raise Broken(f"{entry.label} {error}") from None
        except HarnessError as error:
            raise Broken(f"{entry.label} breaks '{self.name}': {error.message}") from error
        except (Exception, SystemExit) as error:
            raise Broken(f"{entry.label} breaks '{self.name}': {type(error).__name__}: {error}") from error
        finally:
            os.chdir(here)


def require(kept: bool, otherwise: str) -> None:
    """Broken with that text unless kept."""
    if not kept:
        raise Broken(otherwise)


def empty_folder(name: str) -> Path:
    """A folder inside the promise's own temporary one."""
    folder = Path(name).resolve()
    folder.mkdir()
    return folder
