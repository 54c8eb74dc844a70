"""A run's events as JSON lines: one file that a person can follow and a program can read while the run goes on."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from harness.events import Event


class EventLog:
    """Appends every event as one line, flushed at once: after a crash the file still says how far the run came."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        path: str = Field("results/events.jsonl", description="The file; relative to the working directory.")
        kinds: list[str] | None = Field(None, description="Events to keep, e.g. ['trial_finished']; unset: all.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def observe(self, event: Event) -> None:
        if self.config.kinds is not None and event.kind not in self.config.kinds:
            return
        path = Path(self.config.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
