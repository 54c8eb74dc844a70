"""Sequences of one forward pass laid end to end in one row: no padding, and a prefix they share is computed once.

A row is [prefix | tail | tail | ...]: the prefix is the root (soft prompt) and the tokens that all sequences begin
with; every tail sees the prefix and itself. The results are those of separate rows, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface

from harness.exceptions import ModelError
from harness.models.requests import TrainSequence

IMPLEMENTATION = "harness_packed"
LAYOUT = "harness_layout"
PREFIX = "harness_prefix"  # key-values that take the place of the row's first ones (see `Variant.prefix`)
LIKE = 0.6  # share of a group's longest tail that its others reach
WORTH_SHARING = 64  # tokens saved, below which a shared prefix costs more than it saves

# Some models ask these of their attention; we compute none of them, so such a model trains on plain rows.
_UNSUPPORTED = ("softcap", "s_aux", "sinks", "position_bias", "sliding_window")


@dataclass(frozen=True)
class Group:
    """Tails of like length, padded to the longest: `rows` of `length` queries that see `keys` keys (prefix first).

    `tokens` [rows * length] and `seen` [rows * keys]: which token of the packed row stands at each place; padding
    repeats some token. `padding`: places of `tokens` that hold none. `mask` [length, keys]: 0, or -inf for the future.
    """

    rows: int
    length: int
    keys: int
    tokens: Tensor
    seen: Tensor
    padding: Tensor
    mask: Tensor


@dataclass
class Layout:
    """Where the sequences lie. `prefix`: positions of the prefix, root included. `places` [tokens]: where each token
    stands among the groups' places, laid end to end. Index tensors for a model's numbers of heads are made once."""

    prefix: int
    groups: tuple[Group, ...]
    places: Tensor
    _heads: dict[tuple[int, int], HeadIndex] = field(default_factory=dict)

    def for_heads(self, heads: int, kv_heads: int) -> HeadIndex:
        key = (heads, kv_heads)
        if key not in self._heads:
            self._heads[key] = HeadIndex.make(self, heads, kv_heads)
        return self._heads[key]


@dataclass(frozen=True)
class HeadIndex:
    """The layout's gathers for tensors seen as rows [tokens * heads, size]. Per group: `queries` [rows * key-value
    heads * heads each * length], `keys` [rows * key-value heads * keys], `padding` of the queries, `masks` for heads
    that share keys. `back` [tokens * heads] and `back_keys` [own tokens * key-value heads] undo them for all groups."""

    queries: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]
    padding: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    back: Tensor
    back_keys: Tensor

    @classmethod
    def make(cls, layout: Layout, heads: int, kv_heads: int) -> HeadIndex:
        each = heads // kv_heads
        head = torch.arange(heads).view(1, kv_heads, each, 1)
        kv_head = torch.arange(kv_heads).view(1, kv_heads, 1)
        queries, keys, padding, masks, back, back_keys = [], [], [], [], [], []
        start = start_keys = 0
        for group in layout.groups:
            tokens = group.tokens.view(group.rows, 1, 1, group.length)
            queries.append((tokens * heads + head).flatten())
            keys.append((group.seen.view(group.rows, 1, group.keys) * kv_heads + kv_head).flatten())
            hole = torch.zeros(group.rows * group.length, dtype=torch.bool)
            hole[group.padding] = True
            hole = hole.view(group.rows, 1, 1, group.length).expand(-1, kv_heads, each, -1)
            padding.append(hole.flatten().nonzero().flatten())
            masks.append(group.mask.repeat(each, 1))
            # Where place (row, column) of this group lies in the gathered rows, for every head.
            row = torch.arange(group.rows).view(-1, 1, 1)
            column = torch.arange(group.length).view(1, -1, 1)
            place = (row * heads + torch.arange(heads)) * group.length + column
            back.append((start + place).view(-1, heads))
            own = group.keys - group.length + column
            place = (row * kv_heads + torch.arange(kv_heads)) * group.keys + own
            back_keys.append((start_keys + place).view(-1, kv_heads))
            start += group.rows * heads * group.length
            start_keys += group.rows * kv_heads * group.keys
        return cls(
            tuple(queries),
            tuple(keys),
            tuple(padding),
            tuple(masks),
            torch.cat(back)[layout.places].flatten(),
            torch.cat(back_keys)[layout.places].flatten(),
        )


@dataclass(frozen=True)
class Packed:
    """One forward pass. `ids` [tokens without the root], `positions` [tokens], `read` [n]: where a target is predicted,
    `targets` [n]."""

    ids: Tensor
    positions: Tensor
    read: Tensor
    targets: Tensor
    layout: Layout


def shared_prefix(rows: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all rows begin with; every row keeps one token of its own."""
    if len(rows) < 2:
        return 0
    first, last = min(rows), max(rows)  # in lexical order these two differ first
    limit = min(map(len, rows)) - 1
    same = 0
    while same < limit and first[same] == last[same]:
        same += 1
    return same if same * (len(rows) - 1) >= WORTH_SHARING else 0


def pack(sequences: Sequence[TrainSequence], root: int, device: torch.device, *, silent: bool = False) -> Packed:
    """Lays out sequences behind a root of `root` positions. The last token of each predicts nothing and is left out.
    `silent`: nor does the root's last position, because the root is key-values."""
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
            if source < (root if silent else 0):
                continue  # the very first token of a sequence without prompt and root: nothing predicts it
            read.append(source if source < prefix else start + source - prefix)
            targets.append(full[place])
    return Packed(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        torch.tensor(read, device=device, dtype=torch.long),
        torch.tensor(targets, device=device, dtype=torch.long),
        _layout(prefix, lengths),
    )


def _group(starts: Sequence[int], lengths: Sequence[int], prefix: int) -> Group:
    """Tails that begin at `starts` of the packed row, behind `prefix` positions."""
    rows, longest = len(lengths), max(lengths)
    columns = torch.arange(longest)
    real = columns < torch.tensor(lengths)[:, None]  # [rows, longest]
    tokens = torch.where(real, torch.tensor(starts)[:, None] + columns, starts[0])
    seen = torch.cat([torch.arange(prefix).expand(rows, -1), tokens], dim=1)
    mask = torch.zeros(longest, prefix + longest)
    mask[:, prefix:] = torch.full((longest, longest), float("-inf")).triu_(1)
    hole = (~real).flatten().nonzero().flatten()
    return Group(rows, longest, prefix + longest, tokens.flatten(), seen.flatten(), hole, mask)


def _layout(prefix: int, lengths: Sequence[int]) -> Layout:
    """Groups tails of like length: attention on padding is wasted, and so is the start of every group."""
    groups = [_group([0], [prefix], 0)] if prefix else []
    starts = [prefix + sum(lengths[:number]) for number in range(len(lengths))]
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    members: list[list[int]] = []
    for number in order:
        if not members or lengths[number] < LIKE * lengths[members[-1][0]]:
            members.append([])
        members[-1].append(number)
    groups += [
        _group([starts[number] for number in rows], [lengths[number] for number in rows], prefix) for rows in members
    ]
    places = torch.empty(prefix + sum(lengths), dtype=torch.long)
    start = 0
    for group in groups:
        real = torch.ones(len(group.tokens), dtype=torch.bool)
        real[group.padding] = False
        places[group.tokens[real]] = start + real.nonzero().flatten()
        start += len(group.tokens)
    return Layout(prefix, tuple(groups), places)


def _probabilities(query: Tensor, key: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Softmax over the keys [batch, queries, keys]; the softmax itself is computed in float32 in every format."""
    return torch.softmax(torch.baddbmm(mask.to(query.dtype), query, key.transpose(1, 2), alpha=scale), dim=-1)


class _PackedAttention(torch.autograd.Function):
    """query [tokens, heads, size], key and value [tokens, key-value heads, size]; returns [tokens, heads, size].

    Plain products of small matrices: for rows this short they run several times faster on a processor than its fused
    kernel, above all backwards in bfloat16. Probabilities are computed again in the backward pass, not kept.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        (tokens, heads, size), kv_heads = query.shape, key.shape[1]
        index = layout.for_heads(heads, kv_heads)
        queries, keys, values = (tensor.reshape(-1, size) for tensor in (query, key, value))
        outputs = []
        for number, group in enumerate(layout.groups):
            batch = group.rows * kv_heads
            q = queries.index_select(0, index.queries[number]).view(batch, -1, size)
            k = keys.index_select(0, index.keys[number]).view(batch, -1, size)
            v = values.index_select(0, index.keys[number]).view(batch, -1, size)
            outputs.append(torch.bmm(_probabilities(q, k, index.masks[number], scale), v).view(-1, size))
        ctx.save_for_backward(queries, keys, values)
        ctx.layout, ctx.scale, ctx.heads = layout, scale, (heads, kv_heads)
        return torch.cat(outputs).index_select(0, index.back).view(tokens, heads, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values = ctx.saved_tensors
        layout, scale, (heads, kv_heads) = ctx.layout, ctx.scale, ctx.heads
        index = layout.for_heads(heads, kv_heads)
        size, cut = queries.shape[-1], layout.prefix
        grads = grad.reshape(-1, size)
        found: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        shared: list[Tensor] = []  # per group, what its rows add to the prefix's key and value
        for number, group in enumerate(layout.groups):
            batch = group.rows * kv_heads
            q = queries.index_select(0, index.queries[number]).view(batch, -1, size)
            k = keys.index_select(0, index.keys[number]).view(batch, -1, size)
            v = values.index_select(0, index.keys[number]).view(batch, -1, size)
            out = grads.index_select(0, index.queries[number]).index_fill_(0, index.padding[number], 0)
            out = out.view(batch, -1, size)
            weights = _probabilities(q, k, index.masks[number], scale)
            grad_v = torch.bmm(weights.transpose(1, 2), out)
            grad_s = torch.ops.aten._softmax_backward_data(
                torch.bmm(out, v.transpose(1, 2)), weights, -1, weights.dtype
            )
            grad_q = torch.bmm(grad_s, k)
            grad_k = torch.bmm(grad_s.transpose(1, 2), q)
            if scale != 1:
                grad_q.mul_(scale)
                grad_k.mul_(scale)
            for part, kept in zip((grad_q, grad_k, grad_v), found, strict=True):
                kept.append(part.view(-1, size))
            if group.keys > group.length:
                both = torch.stack([grad_k, grad_v]).view(2, group.rows, kv_heads, group.keys, size)
                shared.append(both[:, :, :, :cut].sum(1, dtype=torch.float32))
        grad_q = torch.cat(found[0]).index_select(0, index.back).view(-1, heads, size)
        grad_k = torch.cat(found[1]).index_select(0, index.back_keys).view(-1, kv_heads, size)
        grad_v = torch.cat(found[2]).index_select(0, index.back_keys).view(-1, kv_heads, size)
        if shared:
            more = torch.stack(shared).sum(0).transpose(1, 2)  # [2, prefix, key-value heads, size]
            grad_k[:cut] += more[0]
            grad_v[:cut] += more[1]
        return grad_q, grad_k, grad_v, None, None


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
    prefix = kwargs.get(PREFIX)
    if prefix is not None:
        own, cut = prefix[module.layer_idx].to(key.dtype), prefix.shape[3]
        key, value = (torch.cat([own[part, None], new[:, :, cut:]], dim=2) for part, new in ((0, key), (1, value)))
    rows = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _PackedAttention.apply(*rows, layout, scale).unsqueeze(0), None


def register() -> None:
    """A name in transformers' table of attention functions; repeating it changes nothing."""
    AttentionInterface.register(IMPLEMENTATION, packed_attention)
