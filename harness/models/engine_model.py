"""A variant opened for the engines: its decoder, its vocabulary head, its limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from harness.exceptions import ModelError
from harness.models.engine_attention import PLAN, AttentionPlan, KeyValues, RowStore, tree_attention
from harness.models.engine_linear import fast_linears, linear
from harness.models.variant import Variant

# Configuration entries by which a model changes its logits after the vocabulary head.
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
_WINDOWS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length")


class OpenModel:
    """`root`: soft prompt rows [length, hidden] or None. `prefix`: the root as key-values (see `Variant`) or None.
    `window`: most positions the model takes, root included, or None. `start_id`: stands in for an empty context.
    `shift`: positions taken by the root."""

    def __init__(self, variant: Variant) -> None:
        model: Any = variant.model
        if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
            model = model.get_base_model()  # peft's wrapper; its layers stay inside
        self.model = model
        self.embedding = model.get_input_embeddings()
        self.head = model.get_output_embeddings()
        self.device = self.embedding.weight.device
        self.dtype = self.embedding.weight.dtype
        self.root: Tensor | None = None
        if variant.root is not None and len(variant.root):
            self.root = variant.root.detach().to(self.device, self.dtype)
        self.prefix: Tensor | None = None
        if variant.prefix is not None:
            self.prefix = variant.prefix.detach().to(self.device, self.dtype)
        self.shift = variant.root_length
        config = model.config.get_text_config()
        windows = [value for name in _WINDOWS if isinstance(value := getattr(config, name, None), int)]
        self.window: int | None = windows[0] if windows else None
        starts = (getattr(config, "bos_token_id", None), getattr(config, "eos_token_id", None))
        flat = [
            item for value in starts if value is not None for item in (value if isinstance(value, list) else [value])
        ]
        self.start_id: int | None = flat[0] if flat else None

    def why_plain(self) -> str | None:
        """What in the configuration rules the tree engine out, if anything."""
        config = self.model.config.get_text_config()
        if self.head is None or self.model.get_decoder() is self.model:
            return "its decoder and vocabulary head cannot be called apart"
        for name in _LOGIT_CHANGES:
            if getattr(config, name, None) not in (None, 1, 1.0):
                return f"it changes its logits after the vocabulary head ({name})"
        return None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inference mode, dropout off; the model's mode is put back."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            self.model.train(training)

    def check_window(self, window: int | None) -> int | None:
        """The caller's window, no larger than the model's."""
        if window is not None and window < 1:
            raise ModelError(f"a window of {window} tokens holds nothing.")
        known = [size for size in (window, self.window) if size is not None]
        return min(known) if known else None

    def hidden(self, ids: Tensor, positions: Tensor, plan: AttentionPlan) -> Tensor:
        """Last hidden states [rows, n, hidden] of ids [rows, n] at positions [rows, n] (root not counted)."""
        decoder = self.model.get_decoder()
        output = decoder(input_ids=ids, position_ids=positions + self.shift, use_cache=False, **{PLAN: plan})
        return output.last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Vocabulary head: logits [n, vocabulary] of hidden states [n, hidden]."""
        return linear(self.head, hidden)

    @contextmanager
    def fast(self) -> Iterator[None]:
        """The decoder follows attention plans, with the fastest matrix products there are."""
        with tree_attention(self.model), fast_linears(self.model.get_decoder()):
            yield

    def root_key_values(self) -> tuple[KeyValues, Tensor | None]:
        """The root's key-values, and the last hidden state [hidden] of its last row (None without such a row)."""
        if self.prefix is not None:
            keys = {layer: pair[0][None] for layer, pair in enumerate(self.prefix)}
            values = {layer: pair[1][None] for layer, pair in enumerate(self.prefix)}
            return KeyValues(keys, values, self.shift), None
        if self.root is None:
            return KeyValues(), None
        store = RowStore(self.shift, 1)
        positions = torch.arange(self.shift, device=self.device)[None]
        plan = AttentionPlan(causal=self.shift, store=store)
        output = self.model.get_decoder()(
            inputs_embeds=self.root[None], position_ids=positions, use_cache=False, **{PLAN: plan}
        )
        store.advance(self.shift)
        return KeyValues().extended(store), output.last_hidden_state[0, -1]

    def plain_logits(self, ids: Tensor, past: Any = None, seen: int = 0, keep: int = 0) -> tuple[Tensor, Any]:
        """Logits of a plain forward of ids [rows, n] behind the root, and its cache where `past` was given.

        `seen`: positions already in `past`; the root stands before the first of them. `keep`: last positions whose
        logits are wanted (0: all); those of a soft prompt's last row come first when all are wanted.
        """
        embeds = self.embedding(ids)
        first = not seen
        if self.root is not None and first:
            embeds = torch.cat([self.root.expand(len(ids), -1, -1), embeds], dim=1)
        if self.prefix is not None and first:
            past, seen = prefix_cache(self.prefix, len(ids), past), self.shift
        positions = torch.arange(seen, seen + embeds.shape[1], device=self.device)[None].expand(len(ids), -1)
        extra = {} if past is None else {"past_key_values": past}
        output = self.model(
            inputs_embeds=embeds, position_ids=positions, use_cache=past is not None, logits_to_keep=keep, **extra
        )
        logits = output.logits
        if self.root is not None and first and not keep:
            logits = logits[:, self.shift - 1 :]
        return logits, past


def prefix_cache(prefix: Tensor, rows: int, cache: Any = None) -> Any:
    """A cache (new, or the empty one given) that holds a prefix for so many rows; gradients flow to the prefix."""
    cache = DynamicCache() if cache is None else cache
    for layer, (key, value) in enumerate(prefix):
        cache.update(key.expand(rows, -1, -1, -1), value.expand(rows, -1, -1, -1), layer)
    return cache
