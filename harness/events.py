"""What an observer is told about a run. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EventKind = Literal["run_started", "trial_started", "predictions", "ledger", "note", "trial_finished", "run_finished"]


@dataclass(frozen=True)
class Event:
    """One thing that happened in a run; fields may be added, so take what you need by name.

    `time_s`: seconds since the epoch. `arm`, `seed` and `trial` are None outside a trial. `data` is JSON-able:

    - run_started: name, trials
    - trial_started: chain, the strategies' names
    - predictions: count, done, total
    - ledger: phase, quantity, value (None when unknown), unit, basis
    - note: text
    - trial_finished: status ("done", "failed" or "stored"), error, seconds (None when stored)
    - run_finished: status, failed
    """

    kind: EventKind
    run: str
    time_s: float
    arm: str | None = None
    seed: int | None = None
    trial: int | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
