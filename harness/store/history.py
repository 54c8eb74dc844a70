"""What earlier trials took, for an estimate of the next ones."""

from __future__ import annotations

import json
from dataclasses import dataclass

from harness.store.writer import Store


@dataclass(frozen=True)
class PastTrial:
    """One finished trial. `chain` holds its strategies' ids; None where the ledger does not know."""

    chain: tuple[str, ...]
    requests: int
    tokens_in: float | None
    tokens_out: float | None
    predict_s: float | None
    train_s: float | None
    seen_tokens: float | None
    peak_memory_bytes: float | None


def past_trials(store: Store, model_digest: str, processor: str | None) -> list[PastTrial]:
    """Finished trials of runs with this model on this kind of processor, latest first."""
    query = """
        SELECT DISTINCT trials.id, trials.chain FROM trials
        JOIN run_trials ON run_trials.trial_id = trials.id JOIN runs ON runs.id = run_trials.run_id
        WHERE trials.status = 'done' AND json_extract(runs.model, '$.digest') = ?
        AND json_extract(runs.machine, '$.processor') IS ? ORDER BY trials.id DESC LIMIT 200"""
    return [
        _past(store, trial, chain)
        for trial, chain in store.connection.execute(query, [model_digest, processor]).fetchall()
    ]


def _past(store: Store, trial: int, chain: str) -> PastTrial:
    sums = "SELECT count(*), sum(tokens_in), sum(tokens_out) FROM predictions WHERE trial_id = ? AND finish <> 'error'"
    requests, tokens_in, tokens_out = store.connection.execute(sums, [trial]).fetchone()

    def amount(phase: str, quantity: str) -> float | None:
        query = "SELECT sum(value), sum(value IS NULL) FROM ledger WHERE trial_id = ? AND phase = ? AND quantity = ?"
        value, unknown = store.connection.execute(query, [trial, phase, quantity]).fetchone()
        return None if value is None or unknown else float(value)

    peak = "SELECT max(value) FROM ledger WHERE trial_id = ? AND quantity = 'peak_memory_bytes'"
    return PastTrial(
        chain=tuple(str(use.get("id", "")) for use in json.loads(chain)),
        requests=requests,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        predict_s=amount("predict", "wall_s"),
        train_s=amount("train", "wall_s"),
        seen_tokens=amount("train", "seen_tokens"),
        peak_memory_bytes=store.connection.execute(peak, [trial]).fetchone()[0],
    )
