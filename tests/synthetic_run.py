"""A finished run in a results database, made up: no model, any size. Also run by `perf`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.store import NewRun, NewTrial, Store, open_store
from harness.types import ErrorLabel, Example, LedgerEntry, Passage, Prediction, Query

ARMS = ("zero-shot", "few-shot", "rag", "prompt-tuning", "lora", "rag+lora")
METRICS = ("exact_match", "token_f1")


def synthetic_run(
    path: Path,
    *,
    items: int = 60,
    arms: Sequence[str] = ARMS,
    name: str = "synthetic",
    note: str = "",
    prompt_words: int = 120,
    lead: float = 0.6,
    seed: int = 0,
) -> str:
    """Id of the run. Arms are right more often the later they stand, from 0.2 to 0.2 + `lead`; `note` is put into
    every text that comes from data or a model."""
    generator = np.random.default_rng(seed)
    with open_store(path) as store:
        examples = [
            Example(Query(f"i{i:05}", {"question": f"Question {i} {note}"}, f"group {i // 4}"), (f"answer {i} {note}",))
            for i in range(items)
        ]
        inputs = {example.id: example.query.fields["question"] for example in examples}
        store.save_items("data", "csv", {"test": examples}, inputs)
        run_id = store.begin_run(
            NewRun(
                key=f"{name}/{seed}/{items}/{lead}",
                name=name,
                task_fingerprint="data",
                baseline=arms[0],
                primary_metric="token_f1",
                arms=arms,
                config_resolved={
                    "experiment": {"seeds": [0]},
                    "task": {"metrics": [{"use": use, "id": use, "settings": {}} for use in METRICS]},
                    "cost": {"usd_per_hour": 0.5},
                    "decision": {"monthly_requests": 100_000, "margin": 0.05},
                },
                model={"label": "made up", "digest": "0" * 64},
                task={"loader": "csv", "test": items},
            )
        )
        for index, arm in enumerate(arms):
            right = generator.random(items) < 0.2 + lead * index / max(len(arms) - 1, 1)
            trial = store.begin_trial(NewTrial(f"{name}/{seed}/{lead}/{arm}/{items}", f"{name}/{arm}", arm, 0))
            store.link_trial(run_id, trial, arm, index, 0)
            _fill(store, trial, index, examples, right, (note, prompt_words))
        store.finish_run(run_id, "done")
    return run_id


def _fill(
    store: Store,
    trial: int,
    index: int,
    examples: Sequence[Example],
    right: np.ndarray,
    texts: tuple[str, int],
) -> None:
    note, words = texts
    store.start_trial(trial)
    passages = (Passage("doc 1", f"Title {note}", f"text of a passage {note}", 1.5, 1),) if index == 2 else ()
    shown = "word " * words
    answers = [example.references[0] if ok else f"wrong {note}" for example, ok in zip(examples, right, strict=True)]
    store.add_predictions(
        trial,
        [
            Prediction(
                example.id, f"{shown}{example.query.fields['question']}", answer, answer.strip(), "stop",
                100 + index, 5, passages,
            )
            for example, answer in zip(examples, answers, strict=True)
        ],
    )  # fmt: skip
    for metric in METRICS:
        store.add_scores(
            trial, metric, "1", {e.id: {"value": float(ok)} for e, ok in zip(examples, right, strict=True)}
        )
    labels = {e.id: [ErrorLabel("correct" if ok else "wrong_answer")] for e, ok in zip(examples, right, strict=True)}
    store.add_error_labels(trial, "surface", "1", labels)
    ledger = [LedgerEntry("predict", "wall_s", 2.0 + index, "s")]
    if index >= 3:
        ledger += [LedgerEntry("train", "wall_s", 60.0, "s"), LedgerEntry("train", "seen_tokens", 9e4, "tokens")]
        store.add_curve(trial, "lora/loss", [(step, 3.0 / (1 + step / 20)) for step in range(300)])
        store.add_curve(trial, "lora/validation_loss", [(step, 3.2 / (1 + step / 25)) for step in range(0, 300, 60)])
    store.add_ledger(trial, ledger)
    store.add_latencies(trial, {example.id: 0.2 + 0.01 * place for place, example in enumerate(examples[:20])})
    store.finish_trial(trial, "done")
