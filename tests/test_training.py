"""The training loop against a plain reference, and what it promises: accumulation, resuming, saving, refusing."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PromptEncoderConfig, PromptTuningConfig
from reference_training import reference_loss
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from harness.exceptions import DataError, ModelError, TrialError
from harness.models.requests import TrainSequence
from harness.models.variant import Variant
from harness.training.batching import fit_lengths, length, make_plan, micro_batches
from harness.training.deltas import applied, load_delta, save_delta, unload_delta
from harness.training.forward import Forward
from harness.training.loop import FitResult, StepInfo, fit
from harness.training.schedule import learning_rate
from harness.training.settings import TrainSettings
from harness.training.trainable import (
    Trainable,
    lora_trainable,
    soft_prompt_trainable,
    trainable_for,
    weights_trainable,
)

VOCABULARY = 40


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from threads, and threads that wait for each other on a busy machine lose much."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny_llama(seed: int = 0, dtype: torch.dtype = torch.float32, tied: bool = True) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=160,
        tie_word_embeddings=tied,
    )
    model = LlamaForCausalLM(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data *= 4  # far from uniform, so that mistakes show
    return model.to(dtype).eval()


def tiny_gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=160,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    )
    return GPT2LMHeadModel(config).eval()


def lora(model: Any, seed: int = 0, **settings: Any) -> Trainable:
    arguments = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **settings}
    config = LoraConfig(**arguments)
    return lora_trainable(model, config, seed=seed)


def soft(model: Any, seed: int = 0) -> Trainable:
    return soft_prompt_trainable(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5), seed=seed)


def encoder(model: Any, seed: int = 0) -> Trainable:
    config = PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=16)
    return soft_prompt_trainable(model, config, seed=seed)


def weights(model: Any, seed: int = 0) -> Trainable:
    return weights_trainable(model, seed=seed)


METHODS: dict[str, Callable[..., Trainable]] = {"lora": lora, "soft": soft, "encoder": encoder, "weights": weights}


def sequences(count: int, seed: int = 0, shared: int = 0, longest: int = 20) -> list[TrainSequence]:
    draw = random.Random(seed)

    def ids(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randrange(VOCABULARY) for _ in range(draw.randint(low, high)))

    start = ids(shared, shared)
    return [TrainSequence(start + ids(1, longest), ids(1, 5)) for _ in range(count)]


def settings(**changes: Any) -> TrainSettings:
    base = {"lr": 1e-3, "epochs": 1, "tokens_per_batch": 100, "warmup_ratio": 0.0, "schedule": "constant"}
    return TrainSettings(**{**base, **changes})


def randomise(trainable: Trainable) -> None:
    """Adapters begin as nothing (B = 0): move them, so that their share of the loss and gradient shows."""
    torch.manual_seed(7)
    for parameter in trainable.parameters.values():
        parameter.data += 0.05 * torch.randn_like(parameter)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("shared", [0, 30])
@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradient_equal_the_reference(method: str, shared: int, plain: bool) -> None:
    trainable = METHODS[method](tiny_llama())
    randomise(trainable)
    data = sequences(7, shared=shared)
    expected = reference_loss(trainable.model, data, trainable.root())
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
        for method in (weights, soft):
            trainable = method(make())
            data = [TrainSequence((), s.prompt + s.target) for s in sequences(5)] + sequences(3)
            expected = float(reference_loss(trainable.model, data, trainable.root()))
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
        reference_loss(trainable.model, data, trainable.root()).backward()
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
    extra: dict[str, Any] = {"lora_dropout": 0.1} if method == "lora" else {}
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


def rule(count: int, seed: int, start: tuple[int, ...] = (), swapped: bool = False) -> list[TrainSequence]:
    """A prompt that ends in 5 is answered by 7 1, one that ends in 6 by 8 1; or the other way round."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        last = draw.choice((5, 6))
        prompt = (*start, *(draw.randrange(10, VOCABULARY) for _ in range(draw.randint(2, 7))), last)
        found.append(TrainSequence(prompt, (13 - last if swapped else last + 2, 1)))
    return found


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_rule_is_learnt(method: str) -> None:
    """The base model knows the rule, and that it is swapped after a 3. Each method must learn to swap it unasked; a
    soft prompt can do no more than call up what the model can do."""
    chosen = settings(lr=1e-2, epochs=8, tokens_per_batch=160, schedule="cosine", warmup_ratio=0.1)
    model = tiny_llama()
    model.get_input_embeddings().weight.data *= 4  # the head is tied and mostly frozen: it must be able to be sure
    fit(weights(model), rule(160, 0) + rule(160, 1, start=(3,), swapped=True), [], chosen, seed=0)
    trainable = METHODS[method](model)
    lr = {"lora": 1e-2, "weights": 3e-3, "soft": 0.3, "encoder": 0.1}[method]
    data, held_out = rule(160, 2, swapped=True), rule(40, 3, swapped=True)
    result = fit(trainable, data, held_out, chosen.model_copy(update={"lr": lr, "epochs": 15}), seed=0)
    last = min(loss for _, loss in result.validation_losses)
    assert result.losses[0][1] > 1 and last < 0.1
    assert dict(result.validation_losses)[result.best_step] == last


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_is_the_same_model(method: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny_llama(dtype=dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable = METHODS[method](model)
    data = sequences(10)
    fit(trainable, data, [], settings(epochs=3, lr=1e-2), seed=0)
    variant = trainable.variant()
    with torch.no_grad():
        expected = float(reference_loss(variant.model, data, None if variant.root is None else variant.root.to(dtype)))
    saved = save_delta(trainable, tmp_path / "delta")
    assert saved["kind"] == trainable.kind and saved["bytes"] > 0 and saved["trainable_parameters"] > 0
    assert save_delta(trainable, tmp_path / "delta")["digest"] == saved["digest"]
    trainable.close()
    assert not hasattr(model, "peft_config")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())
    with applied(model, [(saved["kind"], tmp_path / "delta")]) as again, torch.no_grad():
        found = float(reference_loss(again.model, data, again.root))
    assert abs(found - expected) < (1e-5 if dtype == torch.float32 else 0.05)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_peft_and_transformers_read_what_is_saved(tmp_path: Path) -> None:
    from peft import PeftModel

    base, data = tiny_llama(), sequences(4)
    for method in (lora, soft):
        trainable = method(copy.deepcopy(base))
        randomise(trainable)
        save_delta(trainable, tmp_path / "delta")
        loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "delta"))
        if method is soft:
            assert torch.equal(loaded.get_prompt(1)[0], trainable.root().detach())
        else:
            found = float(reference_loss(loaded.get_base_model(), data))
            assert abs(found - float(reference_loss(trainable.model, data))) < 1e-5
    trainable = weights(copy.deepcopy(base))
    randomise(trainable)
    save_delta(trainable, tmp_path / "weights")
    loaded = LlamaForCausalLM.from_pretrained(tmp_path / "weights", local_files_only=True)
    assert abs(float(reference_loss(loaded, data)) - float(reference_loss(trainable.model, data))) < 1e-5


CHAINS = [
    ("lora", "lora"),
    ("weights", "lora"),
    ("lora", "weights"),
    ("lora", "soft"),
    ("soft", "lora"),
    ("soft", "encoder"),
    ("ia3", "lora"),
    ("lora", "ia3"),
    ("lora", "lora", "soft"),
    ("weights", "weights"),
]


def ia3(model: Any, seed: int = 0) -> Trainable:
    config = IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    return lora_trainable(model, config, seed=seed)


@pytest.mark.parametrize("chain", CHAINS, ids=" ".join)
def test_chains_train_save_and_load(chain: tuple[str, ...], tmp_path: Path) -> None:
    """Each link trains on what the links before it left; the loaded chain equals the trained one; the base survives."""
    model, data = tiny_llama(), sequences(10)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    deltas: list[tuple[str, Path]] = []
    last = math.inf
    for number, name in enumerate(chain):
        methods = {
            "lora": LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
            "soft": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
            "encoder": PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=16),
            "ia3": IA3Config(
                task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"]
            ),
            "weights": "weights",
        }
        with applied(model, deltas) as variant:
            trainable = trainable_for(variant, methods[name], seed=number)
            fit(trainable, data, [], settings(epochs=4, lr=1e-2, max_grad_norm=None), seed=0)
            now = trainable.variant()
            with torch.no_grad():
                last = float(reference_loss(now.model, data, now.root))
            saved = save_delta(trainable, tmp_path / str(number))
            deltas.append((saved["kind"], tmp_path / str(number)))
            trainable.close()
    with applied(model, deltas) as variant, torch.no_grad():
        assert abs(float(reference_loss(variant.model, data, variant.root)) - last) < 1e-4
    assert dict.fromkeys(base, True) == {key: torch.equal(base[key], model.state_dict()[key]) for key in base}


def test_parts_of_the_weights() -> None:
    model = tiny_llama(tied=False)
    assert list(weights_trainable(model, "head").parameters) == ["lm_head.weight"]
    last = weights_trainable(model, "last_k_layers", last_layers=1).parameters
    assert all(".1." in name or name in ("model.norm.weight", "lm_head.weight") for name in last) and len(last) == 11
    assert "model.embed_tokens.weight" not in weights_trainable(model, "embeddings_frozen").parameters
    trainable = trainable_for(Variant(model), "weights:last_k_layers:1")
    before = model.model.layers[0].mlp.up_proj.weight.clone()
    fit(trainable, sequences(6), [], settings(), seed=0)
    assert torch.equal(before, model.model.layers[0].mlp.up_proj.weight)
    assert trainable.parameters.keys() == last.keys()
    for wrong in ("weights:half", "lora"):
        with pytest.raises(ModelError):
            trainable_for(Variant(model), wrong)


def Variant_of(model: Any) -> Any:
    from harness.models.variant import Variant

    return Variant(model)


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


def test_unload_takes_off_the_last(tmp_path: Path) -> None:
    model, data = tiny_llama(), sequences(4)
    for name in ("one", "two"):
        trainable = lora(model, seed=len(name))
        randomise(trainable)
        save_delta(trainable, tmp_path / name)
        trainable.close()
    with torch.no_grad():
        bare = float(reference_loss(model, data))
        load_delta(model, "peft", tmp_path / "one")
        one = float(reference_loss(model, data))
        load_delta(model, "peft", tmp_path / "two")
        both = float(reference_loss(model, data))
        unload_delta(model)
        assert float(reference_loss(model, data)) == one
        unload_delta(model)
        assert float(reference_loss(model, data)) == bare
    assert len({bare, one, both}) == 3
    with pytest.raises(ModelError, match="kind"):
        load_delta(model, "magic", tmp_path / "one")
