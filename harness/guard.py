"""Calls into plugins: what they raise is named with package and version; what they take too long for, change in their
arguments or return in the wrong form is caught. A plugin's fault costs the trial that used it, never the run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from itertools import pairwise
from operator import attrgetter
from typing import Any

from harness.exceptions import HarnessError, PluginError


class MutationError(PluginError):
    """A plugin changed what it was given; whoever lent it must not use it again."""


class _TimeUp(BaseException):
    """Not an Exception: a plugin's own `except Exception` must not swallow it."""


@contextmanager
def blamed(label: str, doing: str) -> Iterator[None]:
    """Turns what a plugin raises into a PluginError that names it; errors meant for people pass as they are."""
    try:
        yield
    except HarnessError:
        raise
    except (Exception, SystemExit) as error:
        raise PluginError(f"{label} failed while {doing}: {type(error).__name__}: {error}") from error


class Lent:
    """Values that are lent to one plugin after the other; after each they are read, and compared with what they said
    before. They must change in no other way meanwhile."""

    def __init__(self, **values: Any) -> None:
        self.values = values
        self._before = self._read()

    def _read(self) -> dict[str, Any]:
        return {name: reading(value) for name, value in self.values.items()}

    @contextmanager
    def untouched(self, label: str, doing: str) -> Iterator[None]:
        """MutationError when one of the values reads differently afterwards; frozen records can hold dicts."""
        yield
        now = self._read()
        if changed := [name for name, value in now.items() if value != self._before[name]]:
            raise MutationError(
                f"{label} changed the {' and the '.join(changed)} it was given while {doing}.",
                hint="What a plugin is given is shared by all arms: return a changed copy (dataclasses.replace).",
            )


@contextmanager
def untouched(label: str, doing: str, **lent: Any) -> Iterator[None]:
    """The same for values that are lent once."""
    with Lent(**lent).untouched(label, doing):
        yield


_ATOMS = frozenset({str, bytes, int, float, bool, type(None)})


def reading(value: Any) -> Any:
    """What a value says, to be compared with `==`: records and containers as tuples of their parts, texts and numbers
    as they are (nobody can change those, so a long prompt costs nothing), everything else by its `repr`."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    take_apart = _PARTS[kind]
    if take_apart is None:
        return kind, repr(value)
    parts = take_apart(value)
    if not _ATOMS.issuperset(map(type, parts)):
        parts = tuple([part if type(part) in _ATOMS else reading(part) for part in parts])
    return kind, parts


class _Parts(dict[type, Callable[[Any], tuple[Any, ...]] | None]):
    """How to take values of a type apart, filled on demand; None where that is not known."""

    def __missing__(self, kind: type) -> Callable[[Any], tuple[Any, ...]] | None:
        self[kind] = None
        if kind is tuple or kind is list:
            self[kind] = tuple
        elif kind is dict:
            self[kind] = lambda value: (*value, *value.values())
        elif is_dataclass(kind):
            names = [field.name for field in fields(kind)]
            self[kind] = attrgetter(*names) if len(names) > 1 else lambda one: tuple([getattr(one, n) for n in names])
        return self[kind]


_PARTS = _Parts()


@contextmanager
def limited(label: str, doing: str, limit_s: float | None) -> Iterator[None]:
    """PluginError after `limit_s` seconds, for plugins that run in the coordinator. By a signal: only in the main
    thread, only where the system has timers; elsewhere there is no limit."""
    if not limit_s or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    except _TimeUp:
        raise PluginError(
            f"{label} took longer than {limit_s:g} s while {doing}.", hint="The limit is [run] silence_limit_s."
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def watched(label: str, doing: str, *, limit_s: float | None = None, **lent: Any) -> Iterator[None]:
    """All three at once."""
    with ExitStack() as stack:
        stack.enter_context(untouched(label, doing, **lent))
        stack.enter_context(limited(label, doing, limit_s))
        stack.enter_context(blamed(label, doing))
        yield


def expect(label: str, doing: str, value: Any, kind: type) -> Any:
    """The value, or PluginError when it is not of the promised type."""
    if not isinstance(value, kind):
        raise PluginError(f"{label} returned {type(value).__name__}, not {kind.__name__}, while {doing}.")
    return value


def expect_hits(label: str, found: Any, queries: int, k: int, size: int) -> list[list[tuple[int, float]]]:
    """A retriever's answer: a list per query, of at most k (position, score), best first, no position twice."""
    if not isinstance(found, Sequence) or len(found) != queries:
        got = f"{len(found)} lists" if isinstance(found, Sequence) else type(found).__name__
        raise PluginError(f"{label} returned {got} for {queries} queries.")
    for hits in found:
        problem = _hits_problem(hits, k, size)
        if problem:
            raise PluginError(f"{label} {problem}.")
    return [[(int(position), float(score)) for position, score in hits] for hits in found]


def _hits_problem(hits: Any, k: int, size: int) -> str:
    try:
        pairs = [(int(position), float(score)) for position, score in hits]
    except (TypeError, ValueError):
        return "returned something else than pairs (document position, score)"
    positions = [position for position, _ in pairs]
    if len(pairs) > k:
        return f"returned {len(pairs)} documents where {k} were asked for"
    if any(not 0 <= position < size for position in positions):
        return f"returned a position outside the {size} documents"
    if len(set(positions)) != len(positions):
        return "returned a document twice"
    # A NaN fails both comparisons, so it counts as out of order.
    if not all(first >= second for (_, first), (_, second) in pairwise(pairs)):
        return "returned documents that are not ordered by score, best first"
    return ""
