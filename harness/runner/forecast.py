"""What a run would take, before it runs: tokens, time, memory, money, and the smallest difference it could show.

Tokens are counted on the prompts of a few training examples as each arm would build them. Time comes from earlier
trials of the same model on the same kind of processor, as operations per second (2N per token read or written, 6N per
token trained on; Kaplan et al. 2020, arXiv:2001.08361, 2.1), else from a short measurement of this machine. Memory is
that of an earlier trial with the same chain, else a lower bound: the weights, and 16 bytes for each parameter that is
trained in full (weights, gradient and AdamW's two averages in float32). Every figure says which it is.
"""

from __future__ import annotations

import json
import statistics
import struct
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis.economics import arm_cost
from harness.analysis.forecast import ArmForecast, Basis, Forecast
from harness.analysis.power import items_for_margin, planned_difference
from harness.analysis.rows import TrialRows
from harness.config import Arm
from harness.runner.prepare import Prepared
from harness.runner.rendered import RenderedExample, rendered_examples
from harness.store.history import PastTrial
from harness.types import LedgerEntry

SAMPLE = 16
ROUGH_SHARE = 0.3  # of a matrix product's speed that a small model reaches; seen from 0.2 to 0.5


def forecast(prepared: Prepared, past: Sequence[PastTrial]) -> Forecast:
    """Loads the tokenizer, not the model."""
    from harness.models.loading import converted_folder

    experiment, task = prepared.experiment, prepared.task
    parameters = parameter_count(converted_folder(prepared.source))
    speeds, basis = _speeds(parameters, past, prepared.plan.device, prepared.plan.dtype)
    rendered: dict[str, list[RenderedExample]] = {arm.name: [] for arm in experiment.arms}
    for example in rendered_examples(prepared, None, SAMPLE):
        rendered[example.arm].append(example)
    sizes = Counter(example.query.group or f"item {example.id}" for example in task.test)
    grouped = any(example.query.group is not None for example in task.test)
    clusters = list(sizes.values()) if grouped else None
    arms, margin = len(experiment.arms), experiment.decision.margin
    spec: Any = next(
        prepared.registry.get("metric", use.use).spec
        for use in experiment.metrics
        if use.id == experiment.primary_metric
    )
    span = spec.high - spec.low if spec.low is not None and spec.high is not None else None
    return Forecast(
        arms=tuple(_arm(prepared, arm, rendered[arm.name], (parameters, speeds), past) for arm in experiment.arms),
        items=len(task.test),
        groups=len(sizes) if grouped else None,
        margin=margin,
        detectable=None if span is None else planned_difference(len(task.test), arms, margin, clusters, span),
        items_needed=None if span is None else items_for_margin(margin, arms, clusters, span),
        time_basis=basis,
        parameters=parameters,
    )


def _arm(
    prepared: Prepared,
    arm: Arm,
    sample: Sequence[RenderedExample],
    machine: tuple[int | None, tuple[float | None, float | None]],
    past: Sequence[PastTrial],
) -> ArmForecast:
    parameters, (read, train) = machine
    experiment = prepared.experiment
    trials = [trial for trial in prepared.plan.trials if trial.arm == arm.name]
    requests = len(prepared.task.test)
    tokens_in = statistics.fmean(e.prompt_tokens for e in sample) if sample else None
    target = statistics.fmean(len(e.trained) for e in sample) if sample else None
    seen = _seen_tokens(prepared, arm, tokens_in, target)
    trained = bool(seen)
    # A tuned model answers as briefly as its examples; another may go on to the limit.
    tokens_out = target if trained or target is None else float(experiment.generation.max_new_tokens)
    if prepared.task.readout == "choose":
        tokens_out = 0.0
    per_request = None if tokens_in is None or tokens_out is None else tokens_in + tokens_out
    predict_s = _seconds(2, parameters, None if per_request is None else per_request * requests, read)
    train_s = 0.0 if seen == 0 else _seconds(6, parameters, seen, train)
    memory, basis = _memory(prepared, arm, parameters, past)
    ledger = [
        LedgerEntry("predict", "wall_s", predict_s, "s", "estimated"),
        LedgerEntry("predict", "requests", float(requests), "requests"),
    ]
    if seen != 0:
        ledger += [
            LedgerEntry("train", "wall_s", train_s, "s", "estimated"),
            LedgerEntry("train", "seen_tokens", seen, "tokens", "estimated"),
        ]
    known = per_request is not None and tokens_in is not None and tokens_out is not None
    tokens = {"estimate": (round(tokens_in or 0), round(tokens_out or 0))} if known else {}
    rows = TrialRows(arm.name, 0, "done", tokens=tokens, ledger=ledger)
    return ArmForecast(
        arm=arm.name,
        trials=len(trials),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        train_tokens=seen,
        predict_s=predict_s,
        train_s=train_s,
        memory_bytes=memory,
        memory_basis=basis,
        cost=arm_cost([rows], experiment.prices, experiment.decision),
    )


def _seen_tokens(prepared: Prepared, arm: Arm, prompt: float | None, target: float | None) -> float | None:
    """Tokens that all trainings of one trial read; 0 for an arm that does not train, None where it cannot be told."""
    total = 0.0
    for use in arm.chain:
        entry = prepared.registry.get("strategy", use.use)
        if getattr(entry.spec, "changes", "prompt") != "model":
            continue
        if "corpus" in getattr(entry.spec, "needs", ()):
            return None  # it reads documents, whose tokens are not counted here
        config: Any = entry.create(use.settings).config
        epochs = getattr(config, "epochs", None)
        if prompt is None or target is None or epochs is None:
            return None
        tokens = epochs * len(prepared.task.train) * (prompt + target)
        steps, batch = getattr(config, "max_steps", None), getattr(config, "tokens_per_batch", None)
        total += min(tokens, steps * batch) if steps and batch else tokens
    return total


def _seconds(factor: int, parameters: int | None, tokens: float | None, speed: float | None) -> float | None:
    return None if not parameters or tokens is None or not speed else factor * parameters * tokens / speed


def _memory(
    prepared: Prepared, arm: Arm, parameters: int | None, past: Sequence[PastTrial]
) -> tuple[float | None, Basis]:
    chain = tuple(use.id for use in arm.chain)
    peaks = [t.peak_memory_bytes for t in past if t.chain == chain and t.peak_memory_bytes is not None]
    if peaks:
        return max(peaks), "earlier trials"
    if not parameters:
        return None, "unknown"
    whole = any(
        getattr(prepared.registry.get("strategy", use.use).spec, "delta", "") == "weights"
        and use.settings.get("train", "all") == "all"
        and use.settings.get("adapter", "none") == "none"
        for use in arm.chain
    )
    width = 2 if "16" in prepared.plan.dtype else 4
    return float(parameters * (16 if whole else width)), "at least"


def _speeds(
    parameters: int | None, past: Sequence[PastTrial], device: str, dtype: str
) -> tuple[tuple[float | None, float | None], Basis]:
    """Operations per second of (predicting, training) and where they come from."""
    if not parameters:
        return (None, None), "unknown"
    read = [
        2 * parameters * ((t.tokens_in or 0) + (t.tokens_out or 0)) / t.predict_s
        for t in past
        if t.predict_s and t.tokens_in
    ]
    train = [6 * parameters * t.seen_tokens / t.train_s for t in past if t.train_s and t.seen_tokens]
    rough = None if read and train else matrix_speed(device, dtype) * ROUGH_SHARE
    basis: Basis = "rough" if rough is not None else "earlier trials"
    return (statistics.median(read) if read else rough, statistics.median(train) if train else rough), basis


def matrix_speed(device: str, dtype: str, seconds: float = 0.2) -> float:
    """Operations per second of a matrix product of a small model's shape, on the run's device in its number format."""
    import torch

    kind = getattr(torch, dtype)
    one, two = (torch.ones(shape, device=device, dtype=kind) for shape in ((256, 1024), (1024, 1024)))
    (one @ two).sum().item()  # warm up
    started, rounds = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in range(20):
            product = one @ two
        product.sum().item()  # waits for a GPU
        rounds += 20
    return 2 * 256 * 1024 * 1024 * rounds / (time.perf_counter() - started)


def parameter_count(folder: Path) -> int | None:
    """Parameters in a folder's safetensors files, from their headers; None where there are none."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        total += sum(int(np.prod(tensor["shape"])) for name, tensor in header.items() if name != "__metadata__")
    return total or None
