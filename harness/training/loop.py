"""The one supervised loop: every strategy that changes the model trains here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.exceptions import DataError, ModelError, TrialError
from harness.models.requests import TrainSequence
from harness.models.variant import Variant
from harness.training.batching import fit_lengths, length, make_plan, micro_batches
from harness.training.checkpoint import Checkpoint, fingerprint
from harness.training.forward import Forward
from harness.training.precision import WorkingWeights
from harness.training.schedule import learning_rate
from harness.training.settings import TrainSettings
from harness.training.trainable import Trainable


@dataclass(frozen=True)
class StepInfo:
    """State after an optimiser step. `loss`: mean over the batch's target tokens, in nats. `tokens_per_s`: prompt and
    target tokens, averaged since the training began. `seconds_left`: at that pace."""

    step: int
    total_steps: int
    loss: float
    lr: float
    tokens_per_s: float
    seconds_left: float


@dataclass(frozen=True)
class Judge:
    """A validation metric: `value` answers with a variant and scores the answers."""

    value: Callable[[Variant], float]
    higher_is_better: bool = True


@dataclass(frozen=True)
class FitResult:
    """What a training did. Losses are means over target tokens in nats, by step from 1; `validation_metrics` are the
    judge's values. `epochs`: passes made.
    `seen_tokens`: prompt and target tokens; `trained_tokens`: target tokens. `truncated`: training sequences cut to
    the window. `best_step`: the step whose weights were kept. `wall_s`: seconds, interrupted parts included.
    `notes`: what made it slower."""

    steps: int
    epochs: float
    seen_tokens: int
    trained_tokens: int
    losses: tuple[tuple[int, float], ...]
    learning_rates: tuple[tuple[int, float], ...]
    validation_losses: tuple[tuple[int, float], ...]
    validation_metrics: tuple[tuple[int, float], ...]
    truncated: int
    best_step: int
    wall_s: float
    stopped_early: bool
    notes: tuple[str, ...] = ()


@dataclass
class _Progress:
    """The loop's state besides the weights, JSON-able."""

    step: int = 0
    seen_tokens: int = 0
    trained_tokens: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    learning_rates: list[tuple[int, float]] = field(default_factory=list)
    validation_losses: list[tuple[int, float]] = field(default_factory=list)
    validation_metrics: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0
    best_rank: tuple[float, float] = (-math.inf, -math.inf)  # metric (0 without), then loss; higher is better
    without_best: int = 0
    stopped_early: bool = False
    wall_s: float = 0.0


def fit(
    trainable: Trainable,
    train: Sequence[TrainSequence],
    validation: Sequence[TrainSequence],
    settings: TrainSettings,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_step: Callable[[StepInfo], None] | None = None,
    judge: Judge | None = None,
) -> FitResult:
    """Trains in place: afterwards the trainable's parameters hold the trained values.

    With a `judge` validations are ranked by its metric, equal ones by the loss; without, by the loss alone.

    Sets torch's seed (dropout draws from it); the order of the data depends on `seed` alone. With `checkpoint`, a
    training that was killed goes on where the file says, to the same weights; the file is removed at the end.
    """
    if not train:
        raise DataError("there are no training examples.")
    if settings.activation_checkpointing and trainable.prefix() is not None:
        raise ModelError(
            "a prefix cannot be trained with activation checkpointing: transformers then drops key-values.",
            hint="Set activation_checkpointing = false; a smaller tokens_per_forward also saves memory.",
        )
    limit = _limit(trainable, settings)
    train, truncated = fit_lengths(train, limit, settings.max_truncated, "training")
    validation, _ = fit_lengths(validation[: settings.eval_limit], limit, 1.0, "validation")
    with ExitStack() as stack:
        run = _Run(trainable, (train, validation), settings, seed, judge)
        stack.callback(run.close)
        stack.enter_context(run.forward.running(sorted(train[:64], key=length)[:8]))
        torch.manual_seed(seed)
        saver = Checkpoint(
            checkpoint, fingerprint(trainable, (train, validation), settings, seed), settings.checkpoint_seconds
        )
        found = saver.load()
        if found is not None:
            run.resume(*found)
        run.train_all(saver, on_step)
        saver.remove()
        result = run.result()
        notes = (f"trained on padded rows: {run.forward.why_plain}.",) if run.forward.why_plain else ()
    return replace(result, truncated=truncated, notes=notes)


def _limit(trainable: Trainable, settings: TrainSettings) -> int | None:
    """Most tokens of a sequence: the setting, and the model's window less the root's rows."""
    config = trainable.model.config.get_text_config()
    window = getattr(config, "max_position_embeddings", None)
    limits = [settings.max_length] if settings.max_length is not None else []
    if isinstance(window, int):
        with torch.no_grad():
            limits.append(window - trainable.variant().root_length)
    if limits and min(limits) < 2:
        raise DataError("the soft prompt leaves no room for training sequences.", hint="Make it shorter.")
    return min(limits) if limits else None


def _checkpoint_activations(model: Any, on: bool) -> None:
    prefix = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"  # renamed of late
    getattr(model, f"{prefix}_checkpointing_{'enable' if on else 'disable'}")()


class _Run:
    """One training under way."""

    def __init__(
        self,
        trainable: Trainable,
        data: tuple[Sequence[TrainSequence], Sequence[TrainSequence]],
        settings: TrainSettings,
        seed: int,
        judge: Judge | None,
    ) -> None:
        self.trainable, self.settings, self.judge = trainable, settings, judge
        self.train, self.validation = data
        self.lengths = [length(sequence) for sequence in self.train]
        self.plan = make_plan(self.lengths, settings, seed)
        self.progress = _Progress()
        self.best: list[Tensor] | None = None
        self.modes = [(module, module.training) for module in trainable.modules()]
        if settings.activation_checkpointing:
            _checkpoint_activations(trainable.model, True)
        self.weights = WorkingWeights(trainable, settings)
        self.forward = Forward(trainable)

    def close(self) -> None:
        self.weights.release()
        if self.settings.activation_checkpointing:
            _checkpoint_activations(self.trainable.model, False)
        for module, mode in self.modes:
            module.train(mode)

    def train_all(self, saver: Checkpoint, on_step: Callable[[StepInfo], None] | None) -> None:
        progress, total = self.progress, len(self.plan.batches)
        started = time.monotonic() - progress.wall_s
        while progress.step < total and not progress.stopped_early:
            batch = self.plan.batches[progress.step]
            self._unfreeze()
            lr = learning_rate(self.settings, progress.step, total)
            loss, trained = self._step(batch, lr)
            progress.step += 1
            progress.seen_tokens += sum(self.lengths[index] for index in batch)
            progress.trained_tokens += trained
            progress.losses.append((progress.step, loss))
            progress.learning_rates.append((progress.step, lr))
            if self._evaluation_due():
                self._evaluate()
            progress.wall_s = time.monotonic() - started
            if saver.due():
                self._save(saver)
            if on_step is not None:
                pace = progress.wall_s / progress.step
                rate = progress.seen_tokens / max(progress.wall_s, 1e-9)
                on_step(StepInfo(progress.step, total, loss, lr, rate, pace * (total - progress.step)))
        if self.best is not None:
            self.weights.load_snapshot(self.best)
        progress.wall_s = time.monotonic() - started

    def _unfreeze(self) -> None:
        """Every stage lasts for the same part of the method's share of the steps; the last goes on to the end."""
        stages = self.weights.stages
        if stages > 1:
            lasts = self.trainable.unfreeze_over * len(self.plan.batches) / stages
            self.weights.unfreeze(min(stages, 1 + math.floor(self.progress.step / lasts + 1e-9)))

    def _step(self, batch: Sequence[int], lr: float) -> tuple[float, int]:
        """One optimiser step on the sum of all target tokens' losses; returns the mean loss and the tokens."""
        self._mode(True)
        total, count = 0.0, 0
        for indices in micro_batches(batch, self.lengths, self.settings.tokens_per_forward):
            loss, tokens = self.forward.loss([self.train[index] for index in indices])
            if not tokens:
                continue
            value = float(loss.detach())
            if not math.isfinite(value):
                self._not_finite("the loss", value / tokens)
            loss.backward()
            total, count = total + value, count + tokens
        if count:
            norm = self.weights.step(lr, 1 / count)
            if not math.isfinite(norm):
                self._not_finite("the gradient's norm", norm)
        return total / max(1, count), count

    def _not_finite(self, what: str, value: float) -> None:
        raise TrialError(
            f"training diverged: {what} is {value} at step {self.progress.step + 1} of {len(self.plan.batches)}.",
            hint=f"Lower lr (now {self.settings.lr:g}), lengthen the warm-up, or train in float32.",
        )

    def _mode(self, training: bool) -> None:
        for module, _ in self.modes:
            module.train(training)

    def _evaluation_due(self) -> bool:
        if not self.validation:
            return False
        step, every = self.progress.step, self.settings.eval_every
        if step == len(self.plan.batches):
            return True
        return step % every == 0 if every is not None else step in self.plan.epoch_ends

    def _evaluate(self) -> None:
        progress = self.progress
        loss = self.validation_loss()
        progress.validation_losses.append((progress.step, loss))
        value = 0.0
        if self.judge is not None:
            with self.forward.suspended():
                value = self.judge.value(self.trainable.variant())
            progress.validation_metrics.append((progress.step, value))
            value = value if self.judge.higher_is_better else -value
        if math.isfinite(loss) and (value, -loss) > progress.best_rank:
            progress.best_rank, progress.best_step, progress.without_best = (value, -loss), progress.step, 0
            if self.settings.keep_best:
                self.best = None  # the old copy goes before the new one is made
                last = progress.step == len(self.plan.batches)
                self.best = None if last else self.weights.snapshot()
        else:
            progress.without_best += 1
            patience = self.settings.patience
            progress.stopped_early = patience is not None and progress.without_best >= patience

    def validation_loss(self) -> float:
        """Mean over the target tokens of the validation sequences, in nats."""
        self._mode(False)
        lengths = [length(sequence) for sequence in self.validation]
        total, count = 0.0, 0
        with torch.no_grad():
            for indices in micro_batches(range(len(lengths)), lengths, 2 * self.settings.tokens_per_forward):
                loss, tokens = self.forward.loss([self.validation[index] for index in indices])
                total, count = total + float(loss), count + tokens
        return total / max(1, count)

    def _save(self, saver: Checkpoint) -> None:
        tensors = self.weights.state()
        for number, tensor in enumerate(self.best or ()):
            tensors[f"best.{number}"] = tensor
        saver.save(tensors, asdict(self.progress))

    def resume(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        for name in ("losses", "learning_rates", "validation_losses", "validation_metrics"):
            progress[name] = [(int(step), float(value)) for step, value in progress[name]]
        progress["best_rank"] = tuple(progress["best_rank"])
        self.progress = _Progress(**progress)
        best = [name for name in tensors if name.startswith("best.")]
        self.best = [tensors.pop(f"best.{number}") for number in range(len(best))] or None
        self.weights.load_state(tensors)

    def result(self) -> FitResult:
        progress = self.progress
        kept = progress.best_step if self.settings.keep_best and progress.validation_losses else progress.step
        return FitResult(
            steps=progress.step,
            epochs=progress.step / max(1.0, self.plan.per_epoch),
            seen_tokens=progress.seen_tokens,
            trained_tokens=progress.trained_tokens,
            losses=tuple(progress.losses),
            learning_rates=tuple(progress.learning_rates),
            validation_losses=tuple(progress.validation_losses),
            validation_metrics=tuple(progress.validation_metrics),
            truncated=0,
            best_step=kept,
            wall_s=progress.wall_s,
            stopped_early=progress.stopped_early,
        )
