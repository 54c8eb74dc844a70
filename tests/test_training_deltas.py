"""What a training leaves behind: saved, read by others, loaded again, in chains."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PromptEncoderConfig, PromptTuningConfig
from reference_training import reference_loss
from training_models import METHODS, lora, randomise, reference, sequences, settings, tiny_llama, weights
from transformers import LlamaForCausalLM

from harness.exceptions import ModelError
from harness.models.variant import Variant
from harness.training.deltas import applied, load_delta, save_delta, unload_delta
from harness.training.loop import fit
from harness.training.settings import Prefix
from harness.training.trainable import trainable_for

pytestmark = pytest.mark.usefixtures("one_thread")


def loss_of(variant: Variant, data: Any) -> float:
    """The plain reference's loss, every part in the model's number format."""
    dtype = variant.model.dtype
    root, prefix = (None if part is None else part.to(dtype) for part in (variant.root, variant.prefix))
    with torch.no_grad():
        return float(reference_loss(variant.model, data, root, prefix))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_saved_and_loaded_is_the_same_model(method: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny_llama(dtype=dtype)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable = METHODS[method](model)
    data = sequences(10)
    fit(trainable, data, [], settings(epochs=3, lr=1e-2), seed=0)
    expected = loss_of(trainable.variant(), data)
    saved = save_delta(trainable, tmp_path / "delta")
    assert saved["kind"] == trainable.kind and saved["bytes"] > 0 and saved["trainable_parameters"] > 0
    assert save_delta(trainable, tmp_path / "delta")["digest"] == saved["digest"]
    trainable.close()
    assert not hasattr(model, "peft_config")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())
    with applied(model, [(saved["kind"], tmp_path / "delta")]) as again:
        found = loss_of(again, data)
    assert abs(found - expected) < (1e-5 if dtype == torch.float32 else 0.05)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_peft_and_transformers_read_what_is_saved(tmp_path: Path) -> None:
    from peft import PeftModel

    base, data = tiny_llama(), sequences(4)
    for name in ("lora", "rslora", "dora", "ia3", "soft", "encoder", "prefix"):
        trainable = METHODS[name](copy.deepcopy(base))
        randomise(trainable)
        save_delta(trainable, tmp_path / "delta")
        loaded = PeftModel.from_pretrained(copy.deepcopy(base), str(tmp_path / "delta"))
        expected = float(reference(trainable, data))
        if trainable.kind == "soft_prompt":
            assert torch.equal(loaded.get_prompt(1)[0], trainable.root().detach())
        elif trainable.kind == "prefix":
            found = torch.stack([torch.cat([layer.keys, layer.values]) for layer in loaded.get_prompt(1).layers])
            assert torch.equal(found, trainable.prefix().detach())
            whole = [(*sequence.prompt, *sequence.target) for sequence in data]
            for sequence, ids in zip(data, whole, strict=True):  # peft's own forward, whose positions must be ours
                labels = [-100] * len(sequence.prompt) + list(sequence.target)
                theirs = loaded(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
                assert abs(float(theirs) - float(reference(trainable, [sequence]))) < 1e-5
        else:
            assert abs(float(reference_loss(loaded.get_base_model(), data)) - expected) < 1e-5
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
    ("dora", "lora"),
    ("lora", "dora"),
    ("lora", "prefix"),
    ("prefix", "lora"),
    ("prefix", "prefix"),
]


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
            "dora": LoraConfig(r=4, use_dora=True, target_modules="all-linear", task_type="CAUSAL_LM"),
            "prefix": Prefix(4, (1, 2, 3)),
            "weights": "weights",
        }
        with applied(model, deltas) as variant:
            trainable = trainable_for(variant, methods[name], seed=number)
            fit(trainable, data, [], settings(epochs=4, lr=1e-2, max_grad_norm=None), seed=0)
            last = loss_of(trainable.variant(), data)
            saved = save_delta(trainable, tmp_path / str(number))
            deltas.append((saved["kind"], tmp_path / str(number)))
            trainable.close()
    with applied(model, deltas) as variant:
        assert abs(loss_of(variant, data) - last) < 1e-4
    assert dict.fromkeys(base, True) == {key: torch.equal(base[key], model.state_dict()[key]) for key in base}


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
