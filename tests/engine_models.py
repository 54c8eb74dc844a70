"""Tiny random models for the engine tests, and a tokenizer that needs no files."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from harness.models.variant import Variant

VOCABULARY, HIDDEN, WINDOW = 50, 32, 64
KINDS = ("llama", "llama+root", "llama+lora", "llama+lora+root", "gpt2", "gpt2+root")


@functools.cache
def variant(kind: str) -> Variant:
    """A model with weights large enough that its distributions are far from flat."""
    torch.manual_seed(len(kind))
    model: Any
    if kind.startswith("llama"):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=HIDDEN,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=WINDOW,
                bos_token_id=1,
                eos_token_id=2,
            )
        )
    else:
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=HIDDEN,
                n_layer=2,
                n_head=4,
                n_positions=WINDOW,
                bos_token_id=1,
                eos_token_id=2,
            )
        )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    if "lora" in kind:
        from peft import LoraConfig, get_peft_model

        wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
        model = wrapped.get_base_model()
    model.eval()
    return Variant(model, torch.randn(3, HIDDEN) if "root" in kind else None)


class Letters:
    """Token i is one letter; token 3 ends a sentence."""

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return "".join("." if token == 3 else chr(ord("A") + token) for token in ids if token != 2)
