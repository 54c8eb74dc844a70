"""The results database: SQLite, written while a run goes on. `open_store` is the way in."""

from harness.store.database import StoreError, open_store
from harness.store.records import Artifact, NewRun, NewTrial, RunRow, TrialRow
from harness.store.writer import Store

__all__ = ["Artifact", "NewRun", "NewTrial", "RunRow", "Store", "StoreError", "TrialRow", "open_store"]
