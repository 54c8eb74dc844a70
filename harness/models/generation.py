"""Texts in batches: shared prefixes once, finished sequences leave, the same text whatever the batch (in float32).

Rows are left-aligned. A batch's own key-values lie in one store that is written in place; a finished row's place is
taken by the last active one, so that no step copies the store. What all prompts share is kept once and attended apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import DynamicCache

from harness.exceptions import ModelError
from harness.models.batching import plan_batches
from harness.models.constrained import Constrained
from harness.models.engine_attention import AttentionPlan, KeyValues, RowStore
from harness.models.engine_linear import PackedLinear
from harness.models.engine_model import OpenModel
from harness.models.engine_sampling import Ending, Sampler
from harness.models.requests import Decoding, GenerateRequest, Generation
from harness.models.variant import Variant

TOKEN_BUDGET = 16384  # key-value positions of one batch, prompts and answers
CUDA_TOKEN_BUDGET = 131072
_PREFILL_TOKENS = {"cpu": 1024}  # tokens of one prefill forward
_PREFILL_TOKENS_ELSEWHERE = 16384

Skip = Callable[[Sequence[int]], bool]
OnBatch = Callable[[Sequence[int], Sequence[Generation]], None]


def generate(
    variant: Variant,
    tokenizer: Any,
    requests: Sequence[GenerateRequest],
    decoding: Decoding,
    *,
    token_budget: int | None = None,
    max_rows: int = 64,
    skip: Skip | None = None,
    on_batch: OnBatch | None = None,
    plain: bool = False,
) -> list[Generation | None]:
    """One text per request, in request order; None where `skip` left the request's batch out.

    Batches are a pure function of the whole list, `token_budget` (positions of prompts and answers held at once) and
    `max_rows`: a resumed run passes a `skip(indices)` that is true for finished batches. `on_batch(indices, texts)`
    follows each batch. Ids hold neither the end-of-sequence token nor anything after it; the tokens of a stop string
    are among the ids and not in the text. Prompt, answer and root must fit the model's window (ModelError). `plain`:
    one sequence at a time through the model's own forward, for models that the scoring `probe` refuses.
    """
    opened = OpenModel(variant)
    if decoding.choices:
        longest = max(len(ids) for _, ids in decoding.choices)
        requests = [replace(request, max_new_tokens=longest) for request in requests]
    prompts = _prompts(requests, opened)
    shared = 0 if plain else _common(prompts)
    if token_budget is None:
        token_budget = CUDA_TOKEN_BUDGET if opened.device.type == "cuda" else TOKEN_BUDGET
    lengths = [len(prompt) - shared + request.max_new_tokens for prompt, request in zip(prompts, requests, strict=True)]
    results: list[Generation | None] = [None] * len(requests)
    with opened.running(), nullcontext() if plain else opened.fast():
        stepper: _Stepper = _Plain(opened) if plain else _Batched(opened, prompts[0][:shared] if prompts else ())
        for batch in plan_batches(lengths, token_budget, max_rows):
            if skip is not None and skip(batch):
                continue
            texts: list[Generation] = []
            for part in [[index] for index in batch] if plain else [batch]:
                chosen = [requests[index] for index in part]
                texts += _decode(stepper, [prompts[index][shared:] for index in part], chosen, tokenizer, decoding)
            for index, text in zip(batch, texts, strict=True):
                results[index] = text
            if on_batch is not None:
                on_batch(batch, texts)
    return results


class _Stepper(Protocol):
    """Logits [rows, vocabulary] after the prompts, then after one more token per row; `leave(row)` puts the last row
    in the place of `row`."""

    def start(self, prompts: Sequence[tuple[int, ...]], new_tokens: int) -> Tensor: ...
    def step(self, tokens: Sequence[int]) -> Tensor: ...
    def leave(self, row: int) -> None: ...


def _decode(
    stepper: _Stepper,
    prompts: Sequence[tuple[int, ...]],
    requests: Sequence[GenerateRequest],
    tokenizer: Any,
    decoding: Decoding,
) -> list[Generation]:
    sampler: Sampler | Constrained
    ending: Ending | Constrained
    if decoding.choices:
        sampler = ending = Constrained(decoding.choices, len(requests))
    else:
        sampler, ending = Sampler(decoding, [request.seed for request in requests]), Ending(tokenizer, decoding)
    ids: list[list[int]] = [[] for _ in requests]
    done = [Generation((), "", "length") if request.max_new_tokens < 1 else None for request in requests]
    active = [index for index in range(len(requests)) if done[index] is None]
    if active:
        most = max(request.max_new_tokens for request in requests)
        logits = stepper.start([prompts[index] for index in active], most)
    while active:
        tokens = sampler.pick(logits, active)
        for index, token in zip(active, tokens, strict=True):
            ids[index].append(token)
            done[index] = ending.check(ids[index], requests[index].max_new_tokens)
        for row in reversed(range(len(active))):
            if done[active[row]] is not None:
                stepper.leave(row)
                active[row] = active[-1]
                active.pop()
        if active:
            logits = stepper.step([ids[index][-1] for index in active])
    return [text for text in done if text is not None]


class _Batched:
    """Rows of one batch behind a shared prefix, through the model's decoder with planned attention."""

    def __init__(self, opened: OpenModel, shared: tuple[int, ...]) -> None:
        self._opened, self._shared = opened, shared
        self._prefix: KeyValues | None = None
        self._prefill = _PREFILL_TOKENS.get(opened.device.type, _PREFILL_TOKENS_ELSEWHERE)
        self._head: PackedLinear | None = None
        self._store = RowStore(0, 0)
        self._mask = self._positions = torch.empty(0)

    def start(self, prompts: Sequence[tuple[int, ...]], new_tokens: int) -> Tensor:
        device, dtype = self._opened.device, self._opened.dtype
        sizes = torch.tensor([len(prompt) for prompt in prompts])
        width = int(sizes.max())
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)] = torch.tensor(prompt, dtype=torch.long)
        # Padding columns of a row stay closed to the tokens that follow.
        closed = torch.arange(width + new_tokens) >= sizes[:, None]
        closed[:, width:] = False
        self._mask = torch.zeros(closed.shape, dtype=dtype).masked_fill_(closed, -math.inf)[:, None, None].to(device)
        self._positions = (sizes + len(self._shared)).to(device)
        self._store = store = RowStore(width + new_tokens, 0, size=len(prompts))
        last = []
        prefix = self._shared_key_values()
        rows = max(1, self._prefill // width)
        positions = (torch.arange(width) + len(self._shared)).to(device)
        for first in range(0, len(prompts), rows):
            part = ids[first : first + rows].to(device)
            store.first_row, store.rows = first, len(part)
            plan = AttentionPlan(causal=width, prefix=prefix, store=store)
            hidden = self._opened.hidden(part, positions.expand(len(part), -1), plan)
            last.append(hidden[torch.arange(len(part)), sizes[first : first + rows] - 1])
        store.advance(width)
        store.first_row, store.rows = 0, len(prompts)
        if self._head is None:
            self._head = PackedLinear(self._opened.head, len(prompts))
        return self._head(torch.cat(last))

    def step(self, tokens: Sequence[int]) -> Tensor:
        store, opened, head = self._store, self._opened, self._head
        assert head is not None  # `start` comes first
        rows = store.rows
        mask = self._mask[:rows, :, :, : store.columns + 1]
        plan = AttentionPlan(causal=0, mask=mask, prefix=self._prefix, store=store)
        ids = torch.tensor(tokens, device=opened.device)[:, None]
        hidden = opened.hidden(ids, self._positions[:rows, None], plan)
        store.advance(1)
        self._positions += 1
        return head(hidden[:, 0])

    def leave(self, row: int) -> None:
        last = self._store.rows - 1
        if row != last:
            self._store.move(last, row)
            self._mask[row] = self._mask[last]
            self._positions[row] = self._positions[last]
        self._store.rows = last

    def _shared_key_values(self) -> KeyValues:
        """Root and common prompt prefix, computed when the first batch needs them."""
        if self._prefix is None:
            self._prefix, _ = self._opened.root_key_values()
            if self._shared:
                store = RowStore(len(self._shared), 1)
                ids = torch.tensor([self._shared], device=self._opened.device)
                positions = torch.arange(len(self._shared), device=self._opened.device)[None]
                self._opened.hidden(ids, positions, AttentionPlan(len(self._shared), prefix=self._prefix, store=store))
                store.advance(len(self._shared))
                self._prefix = self._prefix.extended(store)
        return self._prefix


class _Plain:
    """One row through the model's own forward; with its key-value cache where it has the usual one."""

    def __init__(self, opened: OpenModel) -> None:
        self._opened = opened
        self._ids: list[int] = []
        self._past: DynamicCache | None = None
        self._seen = 0

    def start(self, prompts: Sequence[tuple[int, ...]], new_tokens: int) -> Tensor:
        stateful = getattr(self._opened.model, "_is_stateful", False)
        self._past = None if stateful else DynamicCache(config=self._opened.model.config)
        self._ids, self._seen = [], 0
        return self.step(prompts[0])

    def step(self, tokens: Sequence[int]) -> Tensor:
        self._ids += tokens
        fed = self._ids if self._past is None else list(tokens)
        ids = torch.tensor([fed], device=self._opened.device)
        logits, _ = self._opened.plain_logits(ids, self._past, self._seen, keep=1)
        if self._past is not None:
            self._seen += len(tokens) + (0 if self._seen else self._opened.shift)
        return logits[:, -1]

    def leave(self, row: int) -> None:
        self._past = None


def _prompts(requests: Sequence[GenerateRequest], opened: OpenModel) -> list[tuple[int, ...]]:
    prompts = []
    for index, request in enumerate(requests):
        prompt = request.prompt
        if not prompt:
            if opened.start_id is None:
                raise ModelError(f"request {index}: an empty prompt, and the model names no first token.")
            prompt = (opened.start_id,)
        needed = opened.shift + len(prompt) + max(request.max_new_tokens, 0)
        if opened.window is not None and needed > opened.window:
            raise ModelError(
                f"request {index}: a prompt of {len(prompt)} tokens and {request.max_new_tokens} new ones do not fit "
                f"the window of {opened.window} positions"
                + (f", {opened.shift} of them the soft prompt's." if opened.shift else "."),
                hint="Shorten the prompt (fewer shots, fewer passages) or ask for fewer tokens.",
            )
        prompts.append(prompt)
    return prompts


def _common(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts share; each keeps at least one of its own. A single prompt shares nothing."""
    if len(prompts) < 2:
        return 0
    low, high = min(prompts), max(prompts)
    most = min(len(prompt) for prompt in prompts) - 1
    return next((place for place in range(most) if low[place] != high[place]), most)
