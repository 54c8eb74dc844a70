"""Tells an experiment's observers what happens. One that fails is left out from then on, with a note; no more."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from harness.config import Experiment
from harness.events import Event, EventKind
from harness.exceptions import PluginError
from harness.guard import watched
from harness.plugins import Registry

_FAILED = "{error} It is told nothing more in this run."


class Observers:
    """`note` prints one line for the person who runs the experiment."""

    def __init__(self, experiment: Experiment, registry: Registry, note: Callable[[str], None]) -> None:
        self.note, self.limit_s = note, experiment.run.silence_limit_s
        self.run_id = ""
        self.trial: dict[str, Any] = {}
        self.active: list[tuple[str, Any]] = []
        for use in experiment.observers:
            entry = registry.get("observer", use.use)
            try:
                with watched(entry.label, "starting", limit_s=self.limit_s):
                    self.active.append((entry.label, entry.create(use.settings)))
            except PluginError as error:
                note(_FAILED.format(error=error.message))

    def begin_trial(self, arm: str, seed: int, trial_id: int) -> None:
        """Events from here to the next `tell("trial_finished")` carry these."""
        self.trial = {"arm": arm, "seed": seed, "trial": trial_id}

    def tell(self, kind: EventKind, data: Mapping[str, Any]) -> None:
        if self.active:
            event = Event(kind, self.run_id, time.time(), **self.trial, data=json.loads(json.dumps(data)))
            self.active = [observer for observer in self.active if self._told(*observer, event)]
        if kind == "trial_finished":
            self.trial = {}

    def _told(self, label: str, observer: Any, event: Event) -> bool:
        try:
            with watched(label, f"observing {event.kind}", limit_s=self.limit_s, event=event):
                observer.observe(event)
        except PluginError as error:
            self.note(_FAILED.format(error=error.message))
            return False
        return True
