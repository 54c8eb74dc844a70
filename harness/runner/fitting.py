"""What stands around a training in the worker: deltas on and off, saving, costs, and the proof that what was saved is
what was trained."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.adaptation import Adaptation, Delta, Readout
from harness.exceptions import TrialError
from harness.models.chat import Encoded
from harness.models.engine import Engine
from harness.models.features import FILE, LinearClassifier
from harness.models.requests import ScoreRequest, TrainSequence
from harness.models.scoring import score
from harness.models.variant import Variant
from harness.types import LedgerEntry

if TYPE_CHECKING:
    from harness.runner.context import AdaptContext
    from harness.training.loop import FitResult, Judge

PROBES = 4  # sequences on which a reloaded delta is checked
PROBE_TOKENS = 64  # of their targets
#: Mean difference of a token's log-likelihood, in nats, that rounding explains. A saved adapter takes the model's
#: number format, so outside float32 its numbers are rounded once more.
TOLERANCE = {"float32": 1e-3}
TOLERANCE_ELSEWHERE = 0.1


def train_delta(
    context: AdaptContext,
    start: Adaptation,
    method: Any,
    settings: Any,
    data: tuple[Sequence[TrainSequence], Sequence[TrainSequence]],
    judge: Judge | None = None,
) -> Adaptation:
    """Trains on sequences (training, validation), saves the delta, checks it, and returns `start` with it."""
    from harness.models.flops import train_entry
    from harness.training.deltas import applied, save_delta
    from harness.training.loop import fit
    from harness.training.trainable import trainable_for

    train, validation = data
    if not train:
        raise TrialError("there is nothing to train on.")
    engine, use = context.engine, context.use
    folder = context.workdir / use.id
    base = [(delta.kind, engine.artifacts / delta.path) for delta in start.model.deltas]
    probes = probe_requests(validation or train)
    with applied(engine.loaded.model, base) as variant:
        # One copy of the weights less: a worker that trained them is not used for another arm.
        trainable = trainable_for(variant, method, seed=context.seed, keep_original=False)
        try:
            result = fit(
                trainable,
                train,
                validation,
                settings,
                seed=context.seed,
                checkpoint=context.workdir / f"{use.id}.checkpoint",
                on_step=lambda info: context.progress(
                    info.step, info.total_steps, f"loss {info.loss:.3f} · {info.tokens_per_s:,.0f} tokens/s"
                ),
                judge=judge,
            )
            saved = save_delta(trainable, folder)
            expected = likelihoods(engine, trainable.variant(), probes)
        finally:
            trainable.close()
    with applied(engine.loaded.model, [*base, (saved["kind"], folder)]) as variant:
        check_reloaded(use.id, expected, likelihoods(engine, variant, probes), engine.loaded.dtype)
    book(context, result, saved)
    context.ledger(
        train_entry(engine.loaded.model.config, result.seen_tokens, result.epochs * len(train), saved["kind"])
    )
    return start.with_delta(Delta(saved["kind"], saved["digest"], f"{context.workdir.name}/{use.id}", use.settings))


def probe_requests(sequences: Sequence[TrainSequence]) -> list[ScoreRequest]:
    """The shortest sequences as requests for the likelihood of their targets."""
    shortest = sorted(sequences, key=lambda sequence: len(sequence.prompt) + len(sequence.target))[:PROBES]
    requests = []
    for sequence in shortest:
        cut = 0 if sequence.prompt else 1  # something must stand before the first token that is read
        target = sequence.target[cut : cut + PROBE_TOKENS]
        requests.append(ScoreRequest(sequence.prompt or sequence.target[:1], (target,)))
    return requests


def likelihoods(engine: Engine, variant: Variant, requests: Sequence[ScoreRequest]) -> list[float]:
    """Mean log-likelihood of a target's tokens, per request."""
    scores = score(variant, requests, plain=engine.plain is not None)
    return [found.logprob / max(1, found.tokens) for (found,) in scores]


def check_reloaded(what: str, trained: Sequence[float], reloaded: Sequence[float], dtype: str) -> None:
    """TrialError unless a reloaded delta predicts what the trained model did."""
    allowed = TOLERANCE.get(dtype, TOLERANCE_ELSEWHERE)
    for before, after in zip(trained, reloaded, strict=True):
        if not abs(before - after) <= allowed * max(1.0, abs(before)):
            raise TrialError(
                f"'{what}', saved and loaded again, does not predict what the trained model did: "
                f"{after:.4f} nats per token instead of {before:.4f}.",
                hint="Nothing measured with it would be true, so the trial ends here. Does another process write into "
                "the artifacts folder? If not, this is our bug.",
            )


def book(context: AdaptContext, result: FitResult, saved: dict[str, Any]) -> None:
    """Costs, curves and notes of a training."""
    for quantity, value, unit in (
        ("trained_tokens", result.trained_tokens, "tokens"),
        ("seen_tokens", result.seen_tokens, "tokens"),
        ("steps", result.steps, "steps"),
        ("trainable_parameters", saved["trainable_parameters"], "parameters"),
        ("artifact_bytes", saved["bytes"], "bytes"),
    ):
        context.ledger(LedgerEntry("train", quantity, float(value), unit))
    for series, points in (
        ("loss", result.losses),
        ("learning_rate", result.learning_rates),
        ("validation_loss", result.validation_losses),
        ("validation_metric", result.validation_metrics),
    ):
        if points:
            name = f"{context.use.id}/{series}"
            context.emit("curve", {"series": name, "points": [list(point) for point in points]})
    for note in result.notes:
        context.emit("note", f"{context.use.id}: {note}")
    if result.truncated:
        context.emit("note", f"{context.use.id}: {result.truncated} training sequences were truncated to fit.")


def train_classifier(
    context: AdaptContext,
    start: Adaptation,
    settings: Any,
    prompts: tuple[Sequence[Encoded], Sequence[Encoded]],
) -> Adaptation:
    """Fits a linear classifier on the hidden states of prompts (training, validation), saves and checks it, and returns
    `start` with the readout that uses it."""
    from harness.training.classifier import fit_classifier

    engine, use, folder = context.engine, context.use, context.workdir / context.use.id
    done, total = 0, sum(map(len, prompts))

    def on_batch(count: int) -> None:
        nonlocal done
        done += count
        context.progress(done, total, "hidden states")

    with engine.variant(start.model.deltas) as variant:
        train, validation = (engine.features(variant, part, settings.model_dump(), on_batch) for part in prompts)
    gold = [[example.references[0] for example in part] for part in (context.train, context.validation)]
    fitted = fit_classifier((train, gold[0]), (validation, gold[1]), context.labels, settings)
    fitted.classifier.save(folder)
    labels = fitted.classifier.labels
    reloaded = LinearClassifier.load(folder, labels).log_probabilities(train[:PROBES])
    if not np.array_equal(reloaded, fitted.classifier.log_probabilities(train[:PROBES])):
        raise TrialError(f"'{use.id}', saved and loaded again, does not predict what it did.")
    content = (folder / FILE).read_bytes()
    # The model reads and learns nothing: what it costs are tokens read, as when it is asked.
    read = float(sum(len(prompt.ids) for part in prompts for prompt in part))
    context.ledger(LedgerEntry("prepare", "tokens_in", read, "tokens"))
    context.ledger(LedgerEntry("prepare", "artifact_bytes", float(len(content)), "bytes"))
    if missing := [label for label in context.labels if label not in labels]:
        context.emit("note", f"{use.id}: {len(missing)} labels without a training example can never be answered.")
    chosen = {"pooling": settings.pooling, "layer": settings.layer, "c": fitted.c, "labels": list(labels)}
    digest = hashlib.sha256(content).hexdigest()
    return start.with_readout(Readout("classify", {**chosen, "digest": digest}, f"{context.workdir.name}/{use.id}"))
