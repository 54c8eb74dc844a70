"""The training loop against a plain reference, and what it promises: accumulation, resuming, saving, refusing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PromptTuningConfig
from reference_training import reference_loss
from training_models import (
    METHODS,
    lora,
    prefix,
    randomise,
    reference,
    rule,
    sequences,
    settings,
    soft,
    tiny_gpt2,
    tiny_llama,
    weights,
)

from harness.exceptions import DataError, ModelError, TrialError
from harness.models.requests import TrainSequence
from harness.training.batching import fit_lengths, length, make_plan, micro_batches
from harness.training.forward import Forward
from harness.training.loop import FitResult, StepInfo, fit
from harness.training.schedule import learning_rate
from harness.training.settings import TrainSettings
from harness.training.trainable import Trainable, lora_trainable

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("shared", [0, 30])
@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradient_equal_the_reference(method: str, shared: int, plain: bool) -> None:
    trainable = METHODS[method](tiny_llama())
    randomise(trainable)
    data = sequences(7, shared=shared)
    expected = reference(trainable, data)
    wanted = torch.autograd.grad(expected, list(trainable.parameters.values()))
    forward = Forward(trainable)
    with forward.running(data[:2]):
        assert forward.packed, forward.why_plain
        if plain:
            forward.packed = False
            forward.model.set_attn_implementation("sdpa")
        total, count = forward.loss(data)
        found = torch.autograd.grad(total / count, list(trainable.parameters.values()))
    assert count == sum(len(sequence.target) for sequence in data)
    assert abs(float(total / count) - float(expected)) < 1e-5
    for name, a, b in zip(trainable.parameters, found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_other_architecture_and_empty_prompts() -> None:
    for make in (tiny_gpt2, tiny_llama):
        for method in (weights, soft, prefix):
            trainable = method(make())
            data = [TrainSequence((), s.prompt + s.target) for s in sequences(5)] + sequences(3)
            expected = float(reference(trainable, data))
            forward = Forward(trainable)
            with forward.running(data):
                total, count = forward.loss(data)
            assert abs(float(total) / count - expected) < 1e-5, forward.why_plain


def steps_of(trainable: Trainable, data: list[TrainSequence], chosen: TrainSettings) -> dict[str, torch.Tensor]:
    fit(trainable, data, [], chosen, seed=1)
    return {name: parameter.data.clone() for name, parameter in trainable.parameters.items()}


@pytest.mark.parametrize("method", ["lora", "weights", "soft"])
def test_one_step_equals_plain_adamw_however_it_is_cut(method: str) -> None:
    data = sequences(12, shared=20)
    chosen = settings(tokens_per_batch=10_000, max_grad_norm=0.5, weight_decay=0.1, epochs=2)
    whole = steps_of(METHODS[method](tiny_llama()), data, chosen)
    parts = steps_of(METHODS[method](tiny_llama()), data, chosen.model_copy(update={"tokens_per_forward": 60}))
    trainable = METHODS[method](tiny_llama())
    parameters = list(trainable.parameters.values())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=chosen.lr)
    for _ in range(2):
        optimizer.zero_grad()
        reference(trainable, data).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
    for name, parameter in trainable.parameters.items():
        # Where a gradient is all but zero, Adam's first steps follow its rounding: a few entries differ by up to lr.
        for other in (whole[name], parts[name]):
            assert float((parameter.data - other).abs().mean()) < 1e-5, name


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_training_goes_on_to_the_same_weights(method: str, tmp_path: Path) -> None:
    data, held_out = sequences(24), sequences(6, seed=5)
    chosen = settings(epochs=2, eval_every=2, checkpoint_seconds=0, schedule="cosine", tokens_per_batch=60)
    extra: dict[str, Any] = {"lora_dropout": 0.1} if METHODS[method] is lora else {}
    make = METHODS[method]

    def run(path: Path | None, stop_after: int | None = None) -> tuple[FitResult | None, dict[str, torch.Tensor]]:
        trainable = make(tiny_llama(), **extra)
        done = 0

        def on_step(info: StepInfo) -> None:
            nonlocal done
            done += 1
            if done == stop_after:
                raise KeyboardInterrupt

        try:
            result = fit(trainable, data, held_out, chosen, seed=3, checkpoint=path, on_step=on_step)
        except KeyboardInterrupt:
            return None, {}
        return result, {name: parameter.data for name, parameter in trainable.parameters.items()}

    straight, expected = run(None)
    path = tmp_path / "training"
    for stop in (1, 3):
        assert run(path, stop)[0] is None
        assert path.is_file()
    torch.rand(3)
    resumed, found = run(path)
    assert not path.exists()
    assert straight is not None and resumed is not None
    assert resumed.losses == straight.losses and resumed.validation_losses == straight.validation_losses
    assert resumed.best_step == straight.best_step
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def test_another_trainings_checkpoint_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "training"
    data = sequences(8)

    def stop(info: StepInfo) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(lora(tiny_llama()), data, [], settings(checkpoint_seconds=0), seed=0, checkpoint=path, on_step=stop)
    result = fit(lora(tiny_llama()), data, [], settings(lr=2e-3), seed=0, checkpoint=path)
    assert result.losses[0][0] == 1 and len(result.losses) == result.steps
    path.write_bytes(b"torn")
    assert fit(lora(tiny_llama()), data, [], settings(), seed=0, checkpoint=path).steps == result.steps


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_rule_is_learnt(method: str) -> None:
    """The base model knows the rule, and that it is swapped after a 3. Each method must learn to swap it unasked; a
    soft prompt can do no more than call up what the model can do."""
    chosen = settings(lr=1e-2, epochs=8, tokens_per_batch=160, schedule="cosine", warmup_ratio=0.1)
    model = tiny_llama()
    model.get_input_embeddings().weight.data *= 4  # the head is tied and mostly frozen: it must be able to be sure
    fit(weights(model), rule(160, 0) + rule(160, 1, start=(3,), swapped=True), [], chosen, seed=0)
    trainable = METHODS[method](model)
    lr = {"weights": 3e-3, "gradual": 3e-3, "soft": 0.3, "encoder": 0.1, "ia3": 0.1, "prefix": 0.1}.get(method, 1e-2)
    data, held_out = rule(160, 2, swapped=True), rule(40, 3, swapped=True)
    result = fit(trainable, data, held_out, chosen.model_copy(update={"lr": lr, "epochs": 15}), seed=0)
    last = min(loss for _, loss in result.validation_losses)
    assert result.losses[0][1] > 1 and last < 0.1
    assert dict(result.validation_losses)[result.best_step] == last


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ModelError, match="nonsense"):
        lora(tiny_llama(), target_modules=["nonsense"])
    with pytest.raises(ModelError, match="soft prompt"):
        lora_trainable(tiny_llama(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5))
    with pytest.raises(DataError, match="example 1"):
        fit(lora(tiny_llama()), [TrainSequence((1,), (2,)), TrainSequence((1,), ())], [], settings(), seed=0)
    with pytest.raises(DataError, match="no training examples"):
        fit(lora(tiny_llama()), [], [], settings(), seed=0)
    with pytest.raises(DataError, match="longer than 4 tokens"):
        fit(lora(tiny_llama()), [TrainSequence((1, 2, 3), (4, 5))] * 3, [], settings(max_length=4), seed=0)


def test_divergence_is_an_error_with_a_remedy() -> None:
    model = tiny_llama()
    model.model.norm.weight.data[0] = float("nan")
    trainable = lora(model)
    with pytest.raises(TrialError, match="step 1 of") as error:
        fit(trainable, sequences(6), [], settings(), seed=0)
    assert "Lower lr" in error.value.hint


def test_truncation_keeps_the_end_of_the_prompt() -> None:
    long, short = TrainSequence(tuple(range(9)), (1, 2)), TrainSequence((1,), (2,))
    (first, second), cut = fit_lengths([long, short], 6, 0.5, "training")
    assert first == TrainSequence((5, 6, 7, 8), (1, 2)) and second == short and cut == 1
    (only,), _ = fit_lengths([TrainSequence((1, 2), tuple(range(9)))], 4, 1.0, "training")
    assert only == TrainSequence((2,), (0, 1, 2))
    with pytest.raises(DataError, match="1 of 2 training sequences"):
        fit_lengths([long, short], 6, 0.4, "training")
    result = fit(lora(tiny_llama()), [long, short], [], settings(max_length=6, max_truncated=0.5), seed=0)
    assert result.truncated == 1 and result.seen_tokens == 8 and result.trained_tokens == 3


def test_every_example_once_an_epoch_and_fractions() -> None:
    data = sequences(57)
    lengths = [length(sequence) for sequence in data]
    plan = make_plan(lengths, settings(epochs=2.5, tokens_per_batch=80), 0)
    ends = sorted(plan.epoch_ends)
    for start, end in ((0, ends[0]), (ends[0], ends[1])):
        assert sorted(index for batch in plan.batches[start:end] for index in batch) == list(range(57))
    assert len(plan.batches) == ends[2] and abs(ends[2] - 2.5 * ends[0]) <= 2
    assert all(sum(lengths[index] for index in batch) <= 80 for batch in plan.batches)
    assert plan == make_plan(lengths, settings(epochs=2.5, tokens_per_batch=80), 0)
    assert plan != make_plan(lengths, settings(epochs=2.5, tokens_per_batch=80), 1)
    assert len(make_plan(lengths, settings(max_steps=3), 0).batches) == 3
    parts = micro_batches(range(57), lengths, 50)
    assert sorted(index for part in parts for index in part) == list(range(57))
    assert all(len(part) == 1 or sum(lengths[index] for index in part) <= 50 for part in parts)


def test_learning_rates() -> None:
    def rates(name: str, warmup: float = 0.2) -> list[float]:
        chosen = settings(lr=1.0, schedule=name, warmup_ratio=warmup)
        return [learning_rate(chosen, step, 10) for step in range(10)]

    assert rates("constant") == pytest.approx([1 / 3, 2 / 3] + [1.0] * 8)
    assert rates("linear") == pytest.approx([1 / 3, 2 / 3] + [1 - step / 8 for step in range(8)])
    cosine = rates("cosine", 0.0)
    assert cosine[0] == 1.0 and cosine[5] == pytest.approx(0.5) and cosine == sorted(cosine, reverse=True)


def test_early_stopping_keeps_the_best() -> None:
    data, held_out = sequences(10, seed=1), sequences(10, seed=2)  # nothing carries over: validation gets worse
    chosen = settings(epochs=40, lr=3e-2, patience=2)
    trainable = weights(tiny_llama())
    result = fit(trainable, data, held_out, chosen, seed=0)
    assert result.stopped_early and result.steps < 40 * 2
    values = dict(result.validation_losses)
    assert values[result.best_step] == min(values.values())
    with torch.no_grad():
        assert float(reference_loss(trainable.model, held_out)) == pytest.approx(values[result.best_step], abs=1e-4)


def test_bfloat16_follows_float32() -> None:
    data = rule(80, 0)
    chosen = settings(lr=3e-3, epochs=6, tokens_per_batch=160)
    for method in (lora, weights, soft):
        losses = []
        for dtype in (torch.float32, torch.bfloat16):
            model = tiny_llama()
            trainable = method(model)
            trainable.compute_dtype = dtype
            result = fit(trainable, data, [], chosen, seed=0)
            losses.append([loss for _, loss in result.losses])
            assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        gaps = [abs(a - b) for a, b in zip(*losses, strict=True)]
        assert sum(gaps) / len(gaps) < 0.05


def test_activation_checkpointing_changes_nothing_but_memory() -> None:
    data = sequences(12, shared=20)
    plain = steps_of(lora(tiny_llama()), data, settings())
    frugal = steps_of(lora(tiny_llama()), data, settings(activation_checkpointing=True))
    for name in plain:
        torch.testing.assert_close(plain[name], frugal[name], atol=1e-6, rtol=1e-5)


def test_progress_is_reported() -> None:
    seen: list[StepInfo] = []
    result = fit(lora(tiny_llama()), sequences(12), [], settings(), seed=0, on_step=seen.append)
    assert [info.step for info in seen] == list(range(1, result.steps + 1))
    assert seen[-1].seconds_left == 0 and all(info.tokens_per_s > 0 for info in seen)
    assert [info.loss for info in seen] == [loss for _, loss in result.losses]
