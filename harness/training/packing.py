"""Sequences of one forward pass laid end to end in one row: no padding, and a prefix they share is computed once.

A row is [prefix | tail | tail | ...]: the prefix is the root (soft prompt) and the tokens that all sequences begin
with; every tail sees the prefix and itself. The results are those of separate rows, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface

from harness.exceptions import ModelError
from harness.models.requests import TrainSequence

IMPLEMENTATION = "harness_packed"
LAYOUT = "harness_layout"
WORTH_SHARING = 64  # tokens saved, below which a shared prefix costs more than it saves

# Some models ask these of their attention; we compute none of them, so such a model trains on plain rows.
_UNSUPPORTED = ("softcap", "s_aux", "sinks", "position_bias", "sliding_window")


@dataclass(frozen=True)
class Layout:
    """Where the sequences lie. `prefix`: positions of the prefix, root included. `lengths`: tokens of each tail.
    `gather` [rows * longest]: token of each place of the padded tails, counted from the prefix's end, or None when the
    tails are equally long. `scatter` [tail tokens]: the padded place of each tail token."""

    prefix: int
    lengths: tuple[int, ...]
    gather: Tensor | None = None
    scatter: Tensor | None = None
    padding: Tensor | None = None  # places of the padded tails that hold no token

    @property
    def longest(self) -> int:
        return max(self.lengths)

    def padded(self, tokens: Tensor) -> Tensor:
        """[tail tokens, heads, size] as [rows, heads, longest, size]; padding repeats some token."""
        rows = tokens if self.gather is None else tokens.index_select(0, self.gather)
        return rows.view(len(self.lengths), self.longest, *tokens.shape[1:]).transpose(1, 2)

    def unpadded(self, rows: Tensor) -> Tensor:
        """[rows, heads, longest, ...] as [tail tokens, heads, ...]."""
        tokens = rows.transpose(1, 2).flatten(0, 1)
        return tokens if self.scatter is None else tokens.index_select(0, self.scatter)


@dataclass(frozen=True)
class Packed:
    """One forward pass. `ids` [tokens without the root], `positions` [tokens], `read` [n]: where a target is predicted,
    `targets` [n]."""

    ids: Tensor
    positions: Tensor
    read: Tensor
    targets: Tensor
    layout: Layout


def shared_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that all rows begin with; every row keeps one token of its own."""
    if len(rows) < 2:
        return 0
    first, last = min(rows), max(rows)  # in lexical order these two differ first
    limit = min(map(len, rows)) - 1
    same = 0
    while same < limit and first[same] == last[same]:
        same += 1
    return same if same * (len(rows) - 1) >= WORTH_SHARING else 0


def pack(sequences: Sequence[TrainSequence], root: int, device: torch.device) -> Packed:
    """Lays out sequences behind a root of `root` positions. The last token of each predicts nothing and is left out."""
    whole = [(*sequence.prompt, *sequence.target) for sequence in sequences]
    rows = [ids[:-1] for ids in whole]
    share = shared_prefix(rows)
    prefix = root + share
    ids = list(rows[0][:share])
    positions = list(range(prefix))
    read: list[int] = []
    targets: list[int] = []
    lengths: list[int] = []
    for sequence, full, row in zip(sequences, whole, rows, strict=True):
        start = len(positions)
        tail = row[share:]
        ids += tail
        positions += range(prefix, prefix + len(tail))
        lengths.append(len(tail))
        for place in range(len(sequence.prompt), len(full)):
            source = root + place - 1  # position, in this sequence's own row, that predicts token `place`
            if source < 0:
                continue  # the very first token of a sequence without prompt and root: nothing predicts it
            read.append(source if source < prefix else start + source - prefix)
            targets.append(full[place])
    return Packed(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        torch.tensor(read, device=device, dtype=torch.long),
        torch.tensor(targets, device=device, dtype=torch.long),
        _layout(prefix, tuple(lengths), device),
    )


def _layout(prefix: int, lengths: tuple[int, ...], device: torch.device) -> Layout:
    longest = max(lengths)
    if min(lengths) == longest:
        return Layout(prefix, lengths)
    counts = torch.tensor(lengths, device=device)
    columns = torch.arange(longest, device=device)
    real = columns < counts[:, None]  # [rows, longest]
    starts = counts.cumsum(0) - counts
    gather = torch.where(real, starts[:, None] + columns, 0).flatten()
    flat = real.flatten()
    return Layout(prefix, lengths, gather, flat.nonzero().flatten(), (~flat).nonzero().flatten())


def _flash(query: Tensor, key: Tensor, value: Tensor, causal: bool, scale: float | None) -> tuple[Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, scale=scale)


def _flash_backward(
    grad: Tensor, inputs: tuple[Tensor, Tensor, Tensor], out: Tensor, lse: Tensor, causal: bool, scale: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
        grad, *inputs, out, lse, 0.0, causal, scale=scale
    )


def _as_row(tokens: Tensor) -> Tensor:
    """[tokens, heads, size] as [1, heads, tokens, size]."""
    return tokens.transpose(0, 1).unsqueeze(0)


class _PackedAttention(torch.autograd.Function):
    """query [tokens, heads, size], key and value [tokens, key-value heads, size]; returns [tokens, heads, size].

    A tail's softmax over prefix and tail is joined from two by their log-sum-exps. Backwards, the kernel rebuilds
    probabilities from the log-sum-exp it is given: with the joined one, each part yields its share of the gradient.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float | None) -> Tensor:
        cut = layout.prefix
        local = tuple(layout.padded(tensor[cut:]) for tensor in (query, key, value))
        rows_out, rows_lse = _flash(*local, True, scale)
        out, lse = layout.unpadded(rows_out), layout.unpadded(rows_lse)  # [tail, heads, size], [tail, heads]
        if cut:
            prefix = (_as_row(key[:cut]), _as_row(value[:cut]))
            own_out, own_lse = _flash(_as_row(query[:cut]), *prefix, True, scale)
            far_out, far_lse = _flash(_as_row(query[cut:]), *prefix, False, scale)
            far_lse = far_lse[0].transpose(0, 1)
            weight = torch.sigmoid(far_lse - lse).unsqueeze(-1)
            lse = torch.logaddexp(lse, far_lse)
            out = torch.cat(
                [own_out[0].transpose(0, 1), torch.lerp(out, far_out[0].transpose(0, 1), weight.to(out.dtype))]
            )
            ctx.save_for_backward(query, key, value, out, lse, own_lse)
        else:
            ctx.save_for_backward(query, key, value, out, lse)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse, *own = ctx.saved_tensors
        layout, scale = ctx.layout, ctx.scale
        cut = layout.prefix
        grad_rows = layout.padded(grad[cut:])
        lse_rows = layout.padded(lse.unsqueeze(-1))
        if layout.padding is not None:  # no gradient from padding, and probabilities of zero there
            grad_rows.transpose(1, 2).flatten(0, 1).index_fill_(0, layout.padding, 0)
            lse_rows.transpose(1, 2).flatten(0, 1).index_fill_(0, layout.padding, float("inf"))
        local = tuple(layout.padded(tensor[cut:]) for tensor in (query, key, value))
        grads = _flash_backward(
            grad_rows, local, layout.padded(out[cut:]), lse_rows.squeeze(-1), True, scale
        )
        grads = tuple(layout.unpadded(rows) for rows in grads)
        if not cut:
            return (*grads, None, None)
        prefix = (_as_row(key[:cut]), _as_row(value[:cut]))
        far = _flash_backward(
            _as_row(grad[cut:]), (_as_row(query[cut:]), *prefix), _as_row(out[cut:]), _as_row(lse), False, scale
        )
        near = _flash_backward(
            _as_row(grad[:cut]), (_as_row(query[:cut]), *prefix), _as_row(out[:cut]), own[0], True, scale
        )
        far_q, far_k, far_v = (part[0].transpose(0, 1) for part in far)
        near_q, near_k, near_v = (part[0].transpose(0, 1) for part in near)
        return (
            torch.cat([near_q, grads[0].add(far_q)]),
            torch.cat([near_k.add(far_k), grads[1]]),
            torch.cat([near_v.add(far_v), grads[2]]),
            None,
            None,
        )


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention by the layout, for transformers' table. query [1, heads, tokens, size], key and value
    [1, key-value heads, tokens, size]; returns [1, tokens, heads, size]."""
    layout: Layout | None = kwargs.get(LAYOUT)
    if layout is None or dropout:
        raise ModelError(f"{type(module).__name__} cannot run on packed sequences.")
    for name in _UNSUPPORTED:
        if kwargs.get(name) is not None:
            raise ModelError(f"{type(module).__name__} uses {name}, which packed attention does not compute.")
    rows = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return _PackedAttention.apply(*rows, layout, scaling).unsqueeze(0), None


def register() -> None:
    """A name in transformers' table of attention functions; repeating it changes nothing."""
    AttentionInterface.register(IMPLEMENTATION, packed_attention)
