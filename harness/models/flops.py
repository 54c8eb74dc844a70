"""Floating-point operations of a model per token, by torch's own counter on a model without weights.

One pass over `length` tokens on the meta device costs milliseconds and counts every matrix product, attention included;
so it is done once for each length. Dense layers alone come to 2N operations per token forward and 6N forward and
backward, N the parameters that take part in a product (Kaplan et al. 2020, arXiv:2001.08361, 2.1): the tests compare.
These are operations of the textbook: nothing is taken off for what the engine shares between requests.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.types import LedgerEntry

Pass = Literal["forward", "inputs", "weights"]
STEP = 64  # lengths are rounded up to a multiple of this
#: What a training of each kind of delta runs backward through: to every weight, or only to what stands before.
BACKWARD: dict[str, Pass] = {"weights": "weights", "peft": "inputs", "soft_prompt": "inputs", "prefix": "inputs"}


def flops_per_token(config: Any, length: float, kind: Pass = "forward") -> float | None:
    """`kind`: "forward"; "inputs" adds the backward pass to activations (the weights are frozen); "weights" adds the
    one to every weight too. None for a model that cannot be counted this way."""
    rounded = max(STEP, -(-int(length) // STEP) * STEP)
    try:
        return _counted(config.to_json_string(use_diff=False), config.__class__, rounded, kind)
    except Exception:  # an architecture with operations of its own: the count is then unknown, and nothing else
        return None


@lru_cache(maxsize=64)
def _counted(text: str, config_class: Any, length: int, kind: Pass) -> float:
    import json

    from transformers import AutoModelForCausalLM

    config = config_class.from_dict(json.loads(text))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    model.train(kind != "forward").requires_grad_(kind == "weights")
    embedded = torch.zeros(1, length, model.get_input_embeddings().embedding_dim, device="meta", requires_grad=True)
    mask = torch.zeros(1, 1, length, length, device="meta")  # given whole: making one would look at values
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(kind != "forward"):
        logits = model(inputs_embeds=embedded, attention_mask=mask, use_cache=False).logits
        if kind != "forward":
            logits.sum().backward()
    return counter.get_total_flops() / length


def predict_entry(config: Any, tokens_in: int, tokens_out: int, requests: int) -> LedgerEntry:
    """Operations of all requests."""
    length = (tokens_in + tokens_out) / max(requests, 1)
    each = flops_per_token(config, length)
    total = None if each is None else each * (tokens_in + tokens_out)
    return LedgerEntry("predict", "flops", total, "operations", "unknown" if total is None else "estimated")


def train_entry(config: Any, seen_tokens: float, sequences: float, kind: str) -> LedgerEntry:
    """Operations of one training over `seen_tokens`, in sequences of their mean length."""
    each = flops_per_token(config, seen_tokens / max(sequences, 1), BACKWARD.get(kind, "weights"))
    total = None if each is None else each * seen_tokens
    return LedgerEntry("train", "flops", total, "operations", "unknown" if total is None else "estimated")
