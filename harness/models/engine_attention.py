"""Attention for packed trees and for rows behind a shared prefix, plugged in through transformers' attention interface.

A forward gets an `AttentionPlan` as a keyword argument; transformers hands it on to every attention layer. Nothing else
is kept between calls: key-values live in the plan's store and in its prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel

from harness.exceptions import ModelError

IMPLEMENTATION = "harness_tree"
PLAN = "harness_plan"

# Some models ask these of their attention; we compute none of them, so such a model is scored plainly.
_UNSUPPORTED = ("softcap", "s_aux", "sinks", "position_bias", "sliding_window")


@dataclass
class KeyValues:
    """Key-values of one chain that every row of a batch sees: per layer [1, key-value heads, length, head size]."""

    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)
    length: int = 0

    def extended(self, store: RowStore) -> KeyValues:
        """These key-values followed by those of the store's only row."""
        more = store.columns
        if not self.length:
            return KeyValues(store.keys, store.values, more)
        keys = {layer: torch.cat([self.keys[layer], store.keys[layer][:, :, :more]], dim=2) for layer in store.keys}
        values = {
            layer: torch.cat([self.values[layer], store.values[layer][:, :, :more]], dim=2) for layer in store.values
        }
        return KeyValues(keys, values, self.length + more)


@dataclass
class RowStore:
    """Key-values of a batch's own tokens: per layer [size, key-value heads, capacity, head size], written in place.

    A forward's rows are `rows` of them from `first_row` on; they see the columns written so far and their own.
    """

    capacity: int
    rows: int
    size: int = 0
    first_row: int = 0
    columns: int = 0
    keys: dict[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(default_factory=dict)

    def put(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new columns of a layer; return all columns written so far. `advance` follows the last layer."""
        if layer not in self.keys:
            for kept, new in ((self.keys, key), (self.values, value)):
                kept[layer] = new.new_zeros(max(self.size, self.rows), new.shape[1], self.capacity, new.shape[3])
        end = self.columns + key.shape[2]
        used = slice(self.first_row, self.first_row + self.rows)
        keys, values = self.keys[layer][used], self.values[layer][used]
        keys[:, :, self.columns : end] = key
        values[:, :, self.columns : end] = value
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, columns: int) -> None:
        self.columns += columns

    def move(self, source: int, target: int) -> None:
        """Copy one row's columns over another's."""
        for kept in (self.keys, self.values):
            for tensor in kept.values():
                tensor[target, :, : self.columns] = tensor[source, :, : self.columns]


@dataclass
class Span:
    """One tree among the tokens [first, end) of a flat batch: its first `causal` tokens see what stands before them in
    the span, the others what `mask` [1, 1, size - causal, size] (additive, 0 or -inf) lets through."""

    first: int
    end: int
    causal: int
    mask: Tensor | None = None


@dataclass
class AttentionPlan:
    """What the tokens of one forward [rows, n] may see: the whole prefix, and of their own row

    - tokens [0, causal): themselves and what stands before them;
    - tokens [causal, n): what `mask` [rows, 1, n - causal, columns] (additive, 0 or -inf) lets through.

    With `spans` the batch is one row without padding, and the spans say what its tokens see.
    """

    causal: int = 0
    mask: Tensor | None = None
    prefix: KeyValues | None = None
    store: RowStore | None = None
    spans: Sequence[Span] = ()
    # Made by the first layer of a forward for the others: the joined mask; the spans' token indices, padded.
    joined_mask: Tensor | None = None
    padded: Tensor | None = None


@contextmanager
def tree_attention(model: PreTrainedModel) -> Iterator[None]:
    """The model's attention layers follow plans inside this context."""
    AttentionInterface.register(IMPLEMENTATION, plan_attention)  # idempotent: a name in transformers' table
    before = model.config._attn_implementation
    model.set_attn_implementation(IMPLEMENTATION)
    try:
        if model.config._attn_implementation != IMPLEMENTATION:
            raise ModelError(f"{type(model).__name__} does not take part in transformers' attention interface.")
        yield
    finally:
        model.set_attn_implementation(before)


def plan_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention by the plan. query [rows, heads, n, size], key and value [rows, key-value heads, n, size];
    returns [rows, n, heads, size]."""
    plan: AttentionPlan | None = kwargs.get(PLAN)
    layer: int | None = getattr(module, "layer_idx", None)
    if plan is None or layer is None:
        raise ModelError(f"{type(module).__name__} does not hand keyword arguments on to its attention.")
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ModelError(f"{type(module).__name__} uses {name}, which tree attention does not compute.")
    if plan.store is not None:
        key, value = plan.store.put(layer, key, value)
    prefix = plan.prefix if plan.prefix is not None and plan.prefix.length else None
    if not _has_lse(query, value):
        joined = _joined_spans if plan.spans else _joined
        return joined(plan, prefix, layer, (query, key, value), scaling).transpose(1, 2), None
    if plan.spans:
        parts = [
            _local(
                span,
                query[:, :, span.first : span.end],
                key[:, :, span.first : span.end],
                value[:, :, span.first : span.end],
                scaling,
            )
            for span in plan.spans
        ]
        local = torch.cat([out.transpose(1, 2) for out, _ in parts], dim=1).transpose(1, 2)
        local_lse = torch.cat([lse for _, lse in parts], dim=2)
    else:
        local, local_lse = _local(plan, query, key, value, scaling)
    if prefix is None:
        return local.transpose(1, 2), None
    rows, heads, n, size = query.shape
    folded = query.transpose(1, 2).reshape(1, rows * n, heads, size).transpose(1, 2)
    shared, shared_lse = _flash(folded, prefix.keys[layer], prefix.values[layer], scale=scaling)
    shared = shared.transpose(1, 2).reshape(rows, n, heads, -1)
    shared_lse = shared_lse.reshape(heads, rows, n).permute(1, 2, 0)
    # Two softmaxes over disjoint keys join by their log-sum-exps.
    weight = torch.sigmoid(shared_lse - local_lse.transpose(1, 2)).unsqueeze(-1)
    return torch.lerp(local.transpose(1, 2), shared, weight.to(shared.dtype)), None


def _has_lse(query: Tensor, value: Tensor) -> bool:
    """The processor's flash kernel also returns log-sum-exps; it wants equal head sizes."""
    return (
        query.device.type == "cpu"
        and query.shape[-1] == value.shape[-1]
        and hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")
    )


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    causal: bool = False,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Output [rows, heads, n, size] and log-sum-exps [rows, heads, n]; key-value heads may be fewer than heads."""
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal, attn_mask=mask, scale=scale
    )
    return out, lse


def _local(
    plan: AttentionPlan | Span, query: Tensor, key: Tensor, value: Tensor, scale: float | None
) -> tuple[Tensor, Tensor]:
    cut, n = plan.causal, query.shape[2]
    if n == 1 and cut == 0 and plan.mask is not None:
        return _one_token(query, key, value, plan.mask, scale)
    if cut == 0:
        return _flash(query, key, value, mask=plan.mask, scale=scale)
    head, head_lse = _flash(query[:, :, :cut], key[:, :, :cut], value[:, :, :cut], causal=True, scale=scale)
    if cut == n:
        return head, head_lse
    tail, tail_lse = _flash(query[:, :, cut:], key, value, mask=plan.mask, scale=scale)
    return torch.cat([head.transpose(1, 2), tail.transpose(1, 2)], dim=1).transpose(1, 2), torch.cat(
        [head_lse, tail_lse], dim=2
    )


def _one_token(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None) -> tuple[Tensor, Tensor]:
    """One new token a row: heads that share key-values stand as tokens of one head, so that these are read once."""
    rows, heads, _, size = query.shape
    shared = key.shape[1]
    folded = query.reshape(rows, shared, heads // shared, size)
    out, lse = _flash(folded, key, value, mask=mask.expand(-1, -1, heads // shared, -1), scale=scale)
    return out.reshape(rows, heads, 1, size), lse.reshape(rows, heads, 1)


def _joined(
    plan: AttentionPlan,
    prefix: KeyValues | None,
    layer: int,
    tensors: tuple[Tensor, Tensor, Tensor],
    scale: float | None,
) -> Tensor:
    """The same through the public kernel: the prefix is laid before every row's keys, under one mask."""
    query, key, value = tensors
    rows, heads, n = query.shape[:3]
    if prefix is not None:
        key = torch.cat([prefix.keys[layer].expand(rows, -1, -1, -1), key], dim=2)
        value = torch.cat([prefix.values[layer].expand(rows, -1, -1, -1), value], dim=2)
    if heads != key.shape[1]:
        key = key.repeat_interleave(heads // key.shape[1], dim=1)
        value = value.repeat_interleave(heads // value.shape[1], dim=1)
    attend = torch.nn.functional.scaled_dot_product_attention
    if prefix is None and plan.causal == n == key.shape[2] and plan.joined_mask is None:
        return attend(query, key, value, is_causal=True, scale=scale)
    if plan.joined_mask is None:
        plan.joined_mask = _joined_mask(plan, query, key.shape[2], prefix.length if prefix else 0)
    return attend(query, key, value, attn_mask=plan.joined_mask, scale=scale)


def _joined_spans(
    plan: AttentionPlan,
    prefix: KeyValues | None,
    layer: int,
    tensors: tuple[Tensor, Tensor, Tensor],
    scale: float | None,
) -> Tensor:
    """Spans laid out as padded rows, attended as such, and laid flat again."""
    device = tensors[0].device
    width = max(span.end - span.first for span in plan.spans)
    sizes = torch.tensor([span.end - span.first for span in plan.spans], device=device)
    real = torch.arange(width, device=device) < sizes[:, None]
    if plan.padded is None:
        starts = torch.tensor([span.first for span in plan.spans], device=device)
        plan.padded = torch.where(real, starts[:, None] + torch.arange(width, device=device), 0)
        before = prefix.length if prefix is not None else 0
        mask = tensors[0].new_zeros(len(plan.spans), 1, width, before + width)
        mask[:, :, :, before:] = float("-inf")
        for row, span in enumerate(plan.spans):
            size = span.end - span.first
            own = mask[row, 0, :size, before : before + size]
            own.triu_(1)
            if span.mask is not None:
                own[span.causal :] = span.mask[0, 0]
        mask[:, :, range(width), range(before, before + width)] = 0.0  # padding sees itself, not nothing
        plan.joined_mask = mask
    index = plan.padded
    rows = tuple(tensor[0].transpose(0, 1)[index].transpose(1, 2) for tensor in tensors)
    out = _joined(plan, prefix, layer, (rows[0], rows[1], rows[2]), scale)
    return out.transpose(1, 2)[real][None].transpose(1, 2)


def _joined_mask(plan: AttentionPlan, query: Tensor, columns: int, before: int) -> Tensor:
    """Additive [rows, 1, n, columns] with the prefix's `before` columns open."""
    rows, _, n, _ = query.shape
    mask = query.new_zeros(rows, 1, n, columns)
    if plan.causal:
        mask[:, :, : plan.causal, before:] = float("-inf")
        mask[:, :, : plan.causal, before:].triu_(1)
    if plan.mask is not None:
        mask[:, :, plan.causal :, before:] = plan.mask
    return mask
