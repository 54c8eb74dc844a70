"""Tiny models, every training method on them, and data for them."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft import IA3Config, LoraConfig, PromptEncoderConfig, PromptTuningConfig
from reference_training import reference_loss
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from harness.models.requests import TrainSequence
from harness.models.variant import Variant
from harness.training.settings import Prefix, TrainSettings, Weights
from harness.training.trainable import (
    Trainable,
    lora_trainable,
    soft_prompt_trainable,
    trainable_for,
    weights_trainable,
)

VOCABULARY = 40


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


def prefix(model: Any, seed: int = 0) -> Trainable:
    return trainable_for(Variant(model), Prefix(5), seed=seed)


def encoder(model: Any, seed: int = 0) -> Trainable:
    config = PromptEncoderConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=16)
    return soft_prompt_trainable(model, config, seed=seed)


def weights(model: Any, seed: int = 0) -> Trainable:
    return weights_trainable(model, seed=seed)


def gradual(model: Any, seed: int = 0) -> Trainable:
    return weights_trainable(model, Weights(unfreeze_over=0.5), seed=seed)


def ia3(model: Any, seed: int = 0) -> Trainable:
    config = IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    return lora_trainable(model, config, seed=seed)


METHODS: dict[str, Callable[..., Trainable]] = {
    "lora": lora,
    "rslora": partial(lora, use_rslora=True),
    "dora": partial(lora, use_dora=True),
    "ia3": ia3,
    "soft": soft,
    "encoder": encoder,
    "prefix": prefix,
    "weights": weights,
    "gradual": gradual,
}


def reference(trainable: Trainable, data: list[TrainSequence]) -> torch.Tensor:
    """The plain reference's loss for a trainable as it stands."""
    return reference_loss(trainable.model, data, trainable.root(), trainable.prefix())


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


def rule(count: int, seed: int, start: tuple[int, ...] = (), swapped: bool = False) -> list[TrainSequence]:
    """A prompt that ends in 5 is answered by 7 1, one that ends in 6 by 8 1; or the other way round."""
    draw = random.Random(seed)
    found = []
    for _ in range(count):
        last = draw.choice((5, 6))
        prompt = (*start, *(draw.randrange(10, VOCABULARY) for _ in range(draw.randint(2, 7))), last)
        found.append(TrainSequence(prompt, (13 - last if swapped else last + 2, 1)))
    return found
