"""The family's parts: which weights, which start, which path, which validation; and the engines behind a prefix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PromptTuningConfig
from reference_training import reference_loss
from training_models import lora, prefix, randomise, rule, sequences, settings, soft, tiny_gpt2, tiny_llama, weights

from harness.exceptions import ModelError
from harness.models.generation import generate
from harness.models.requests import Decoding, GenerateRequest, ScoreRequest, TrainSequence
from harness.models.scoring import score
from harness.models.variant import Variant
from harness.training import fast
from harness.training.deltas import save_delta
from harness.training.forward import Forward
from harness.training.loop import Judge, StepInfo, fit
from harness.training.parts import unfreezing_stages
from harness.training.settings import Prefix, Weights
from harness.training.trainable import soft_prompt_trainable, trainable_for, weights_trainable

pytestmark = pytest.mark.usefixtures("one_thread")


# ------------------------------------------------------------------------------------------------- parts of the weights


def test_parts_of_the_weights() -> None:
    model = tiny_llama(tied=False)
    assert list(weights_trainable(model, "head").parameters) == ["lm_head.weight"]
    last = weights_trainable(model, Weights("last_k_layers", 1)).parameters
    assert all(".1." in name or name in ("model.norm.weight", "lm_head.weight") for name in last) and len(last) == 11
    assert "model.embed_tokens.weight" not in weights_trainable(model, "embeddings_frozen").parameters
    before = model.model.layers[0].mlp.up_proj.weight.clone()
    trainable = trainable_for(Variant(model), Weights("last_k_layers", 1))
    fit(trainable, sequences(6), [], settings(), seed=0)
    assert torch.equal(before, model.model.layers[0].mlp.up_proj.weight)
    assert trainable.parameters.keys() == last.keys()
    with pytest.raises(ModelError, match="2 layers"):
        weights_trainable(model, Weights("last_k_layers", 3))
    with pytest.raises(ModelError, match="no training method"):
        trainable_for(Variant(model), "lora")  # type: ignore[arg-type]


def test_a_tied_head_is_the_embeddings() -> None:
    model = tiny_llama()
    assert list(weights_trainable(model, "head").parameters) == ["model.embed_tokens.weight"]
    assert "model.embed_tokens.weight" not in weights_trainable(model, Weights("last_k_layers", 2)).parameters


@pytest.mark.parametrize(("make", "layer"), [(tiny_llama, "model.layers.{}."), (tiny_gpt2, "transformer.h.{}.")])
def test_stages_go_down_from_the_last_layer(make: Any, layer: str) -> None:
    model = make()
    stages = unfreezing_stages(model, dict(model.named_parameters()))
    for name, stage in stages.items():
        if layer.format(1) in name:
            assert stage == 0, name
        elif layer.format(0) in name:
            assert stage == 1, name
        else:  # the last norm follows the layers; embeddings, tied to the head, stand before them
            assert stage == (0 if "norm" in name or "ln_f" in name else 2), name


def test_layers_join_one_after_another() -> None:
    """Until its turn a layer does not move, not even by weight decay; in the end all have moved."""
    model = tiny_llama()
    trainable = weights_trainable(model, Weights(unfreeze_over=1.0))
    start = {name: parameter.data.clone() for name, parameter in trainable.parameters.items()}
    moved: list[set[int]] = []

    def on_step(info: StepInfo) -> None:
        same = {name: torch.equal(start[name], trainable.parameters[name].data) for name in start}
        moved.append({trainable.stages[name] for name in start if not same[name]})

    chosen = settings(epochs=2, weight_decay=0.1, tokens_per_batch=60)
    fit(trainable, sequences(30), [], chosen, seed=0, on_step=on_step)
    assert moved[0] == {0} and moved[-1] == {0, 1, 2}
    assert moved == sorted(moved, key=len) and any(seen == {0, 1} for seen in moved)


# --------------------------------------------------------------------------------------------------------- the adapters


@pytest.mark.parametrize("variant", [{}, {"use_rslora": True}, {"use_dora": True}, {"lora_dropout": 0.3}], ids=str)
def test_lean_layers_equal_the_general_path(variant: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """DoRA and dropout take peft's own layers; where the lean ones run, loss and gradients are peft's."""
    data, found, lean = sequences(6), [], []
    for general in (False, True):
        if general:
            monkeypatch.setattr(fast, "_lora_forward", lambda layer: None)
        trainable = lora(tiny_llama(), **variant)
        randomise(trainable)
        with Forward(trainable).running(data) as forward:
            lean.append(
                sum(
                    "lora" in type(module).__module__ and "forward" in vars(module)
                    for module in trainable.model.modules()
                )
            )
            total, _ = forward.loss(data)
            found.append((float(total.detach()), torch.autograd.grad(total, list(trainable.parameters.values()))))
    assert lean == [0 if "use_dora" in variant or "lora_dropout" in variant else 14, 0]
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-4)
    for ours, theirs in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_rank_stabilised_scale() -> None:
    plain, stabilised = lora(tiny_llama()), lora(tiny_llama(), use_rslora=True)
    scales = [next(iter(t.model.model.layers[0].mlp.up_proj.scaling.values())) for t in (plain, stabilised)]
    assert scales == [8 / 4, 8 / 4**0.5]


@pytest.mark.parametrize(
    ("targets", "words"),
    [(["q_proj", "kproj"], "kproj.*k_proj"), ("(q|w)_prj", "w.*_prj"), ("q_proj[", "regular expression")],
)
def test_targets_that_match_nothing_are_named(targets: Any, words: str) -> None:
    with pytest.raises(ModelError) as error:
        lora(tiny_llama(), target_modules=targets)
    assert re.search(words, str(error.value), re.S)


def test_targets_by_name_and_by_pattern() -> None:
    for targets, count in ((["q_proj", "1.mlp.up_proj"], 3), (r".*\.(k|v)_proj", 4), ("all-linear", 14)):
        assert len(lora(tiny_llama(), target_modules=targets).parameters) == 2 * count


# -------------------------------------------------------------------------------------------------- where prompts start


def test_a_soft_prompt_from_the_vocabulary_is_made_of_its_rows() -> None:
    model = tiny_llama()
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=6, prompt_tuning_init="SAMPLE_VOCAB")
    rows = [soft_prompt_trainable(model, config, seed=seed).root() for seed in (1, 1, 2)]
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])
    table = model.get_input_embeddings().weight
    assert all((table == row).all(dim=1).any() for row in rows[0])


def test_a_prefix_from_words_is_what_the_words_would_be() -> None:
    model, data, words = tiny_llama(), sequences(4), (7, 3, 9)
    trainable = trainable_for(Variant(model), Prefix(6, words))
    spelt = [TrainSequence((*words, *words, *sequence.prompt), sequence.target) for sequence in data]
    found = reference_loss(model, data, prefix=trainable.prefix())
    assert float(found) == pytest.approx(float(reference_loss(model, spelt)), abs=1e-5)


def test_one_root_only() -> None:
    model = tiny_llama()
    for first, second in (
        (prefix(model).variant(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)),
        (soft(model).variant(), Prefix(5)),
        (prefix(model).variant(), "weights"),
    ):
        with pytest.raises(ModelError, match=r"prefix|soft prompt"):
            trainable_for(first, second)


# ------------------------------------------------------------------------------------------ the engines behind a prefix


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_scores_behind_a_prefix(make: Any) -> None:
    trainable = prefix(make())
    variant, data = trainable.variant(), sequences(9, shared=12)
    requests = [ScoreRequest(sequence.prompt, (sequence.target, (4, 4))) for sequence in data]
    tree, plain = score(variant, requests), score(variant, requests, plain=True)
    for sequence, ours, theirs in zip(data, tree, plain, strict=True):
        expected = -float(reference_loss(variant.model, [sequence], prefix=variant.prefix)) * len(sequence.target)
        assert ours[0].logprob == pytest.approx(expected, abs=1e-4)
        assert theirs[0].logprob == pytest.approx(expected, abs=1e-4)


class Spelt:
    def decode(self, ids: Any, **_: Any) -> str:
        return " ".join(map(str, ids))


def test_texts_behind_a_prefix() -> None:
    variant = prefix(tiny_llama(tied=False)).variant()
    requests = [GenerateRequest(sequence.prompt, 6) for sequence in sequences(5, shared=8)]
    batched = generate(variant, Spelt(), requests, Decoding())
    plain = generate(variant, Spelt(), requests, Decoding(), plain=True)
    bare = generate(Variant(variant.model), Spelt(), requests, Decoding())
    assert batched == plain and batched != bare


# ----------------------------------------------------------------------------------------------- validation by a metric


def test_the_metric_chooses_and_the_loss_breaks_ties() -> None:
    data = sequences(12)
    for better, values, best, steps in ((True, [0.1, 0.3, 0.2, 0.2, 0.9], 2, 4), (False, [3, 2, 1, 1, 2], 4, 5)):
        left = list(values)
        trainable = weights(tiny_llama())
        judge = Judge(lambda variant, left=left: left.pop(0), better)  # type: ignore[misc]
        chosen = settings(epochs=5, lr=3e-3, patience=2, tokens_per_batch=10_000)
        result = fit(trainable, data, data, chosen, seed=0, judge=judge)
        losses = dict(result.validation_losses)
        if not better:
            assert losses[4] < losses[3]  # equal by the metric: the loss decides
        assert result.best_step == best and result.steps == steps
        assert [value for _, value in result.validation_metrics] == values[:steps]
        with torch.no_grad():
            assert float(reference_loss(trainable.model, data)) == pytest.approx(losses[best], abs=1e-4)


@pytest.mark.parametrize("make", [lora, prefix, weights])
def test_answering_in_between_changes_nothing(make: Any, tmp_path: Path) -> None:
    """Engines run on the model that is being trained, under their own attention, and leave no trace."""
    data, held_out = rule(30, 0), rule(8, 1)
    chosen = settings(epochs=2, lr=1e-2, eval_every=2, checkpoint_seconds=0)

    def right(variant: Variant) -> float:
        asked = [GenerateRequest(sequence.prompt, 2) for sequence in held_out]
        texts = [generate(variant, Spelt(), asked, Decoding(), plain=plain) for plain in (False, True)]
        assert texts[0] == texts[1]
        good = [text.ids == sequence.target for text, sequence in zip(texts[0], held_out, strict=True) if text]
        return sum(good) / len(good)

    def stop(info: StepInfo) -> None:
        if info.step == 3:
            raise KeyboardInterrupt

    plain = fit(make(tiny_llama()), data, held_out, chosen, seed=1)
    judged = fit(make(tiny_llama()), data, held_out, chosen, seed=1, judge=Judge(right))
    assert judged.losses == plain.losses and judged.validation_losses == plain.validation_losses
    path = tmp_path / "training"
    with pytest.raises(KeyboardInterrupt):
        fit(make(tiny_llama()), data, held_out, chosen, seed=1, judge=Judge(right), checkpoint=path, on_step=stop)
    resumed = fit(make(tiny_llama()), data, held_out, chosen, seed=1, judge=Judge(right), checkpoint=path)
    assert resumed.validation_metrics == judged.validation_metrics and resumed.best_step == judged.best_step


def test_a_prefix_is_saved_under_its_own_kind(tmp_path: Path) -> None:
    saved = save_delta(prefix(tiny_llama()), tmp_path / "delta")
    assert saved["kind"] == "prefix" and saved["trainable_parameters"] == 5 * 2 * 2 * 2 * 8
