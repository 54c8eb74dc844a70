"""Log-likelihoods of continuations, each distinct token computed once.

All requests of a list form one prefix tree over token ids. What many rows share (instructions, shots, a soft prompt) is
computed once and kept as key-values while it is needed; what one question's continuations share is computed once inside
a row that packs their branches under a tree attention mask. The vocabulary head runs only where something is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from harness.exceptions import ModelError
from harness.models.batching import plan_batches
from harness.models.engine_attention import AttentionPlan, KeyValues, RowStore, Span
from harness.models.engine_model import OpenModel
from harness.models.prefix_tree import Limits, PrefixTree, Read, Row
from harness.models.requests import ContinuationScore, ScoreRequest
from harness.models.variant import Variant

TOKEN_BUDGET = 1024  # more does not make a processor faster, and fits its caches less well
CUDA_TOKEN_BUDGET = 16384
MAX_ROWS = 256
_HEAD_ROWS = 128  # positions that go through the vocabulary head at a time
_CAUSAL_FROM = 256

Progress = Callable[[int, int], None]


@dataclass
class _Sequences:
    """One entry per continuation with tokens: what is fed, and what is read where."""

    inputs: list[tuple[int, ...]]
    first_reads: list[int]
    targets: list[tuple[int, ...]]
    owners: list[int]
    truncated: list[int]


class _Tally:
    """Sums per sequence, and requests done."""

    def __init__(self, sequences: _Sequences, requests: int, on_progress: Progress | None) -> None:
        count = len(sequences.inputs)
        self.logprobs = [0.0] * count
        self.greedy = [True] * count
        self._owners, self._left, self._on_progress = sequences.owners, [0] * requests, on_progress
        for owner in sequences.owners:
            self._left[owner] += 1
        self._done = self._left.count(0)

    def add(self, reads: Sequence[Read], logprobs: Sequence[float], greedy: Sequence[bool]) -> None:
        for read, logprob, best in zip(reads, logprobs, greedy, strict=True):
            self.logprobs[read.sequence] += logprob
            self.greedy[read.sequence] &= best

    def finish(self, sequences: Sequence[int]) -> None:
        for index in sequences:
            owner = self._owners[index]
            self._left[owner] -= 1
            self._done += not self._left[owner]
        if self._on_progress is not None and sequences:
            self._on_progress(self._done, len(self._left))


def score(
    variant: Variant,
    requests: Sequence[ScoreRequest],
    *,
    token_budget: int | None = None,
    window: int | None = None,
    on_progress: Progress | None = None,
    plain: bool = False,
) -> list[list[ContinuationScore]]:
    """Scores of each request's continuations, in request order.

    `token_budget`: tokens computed in one forward (default: by device). `window`: most positions of a sequence, root
    included; at most the model's. A context that does not fit is cut from the left, per continuation, and counted; a
    continuation that does not fit by itself is refused (ModelError). An empty context is the root, or without a root
    the model's beginning-of-sequence token. `on_progress(done, total)` counts requests. `plain`: padded batches of
    whole sequences through the model's own forward, for models that `probe` refuses.
    """
    opened = OpenModel(variant)
    sequences = _sequences(requests, opened, opened.check_window(window))
    tally = _Tally(sequences, len(requests), on_progress)
    if token_budget is None:
        token_budget = CUDA_TOKEN_BUDGET if opened.device.type == "cuda" else TOKEN_BUDGET
    if sequences.inputs:
        with opened.running():
            (_score_plain if plain else _score_tree)(opened, sequences, tally, token_budget)
    results: list[list[ContinuationScore]] = []
    index = 0
    for request in requests:
        scores = []
        for continuation in request.continuations:
            if not continuation:
                scores.append(ContinuationScore(0.0, True, 0))
                continue
            scores.append(
                ContinuationScore(
                    tally.logprobs[index], tally.greedy[index], len(continuation), sequences.truncated[index]
                )
            )
            index += 1
        results.append(scores)
    return results


def probe(variant: Variant) -> str | None:
    """None when tree scoring gives the model's own numbers; else why `plain=True` must be used."""
    opened = OpenModel(variant)
    if reason := opened.why_plain():
        return f"plain scoring: {reason}"
    top = min(int(opened.embedding.weight.shape[0]), 1000) - 1
    ids = [5 + (7 * index * index + 3 * index) % max(1, top - 5) for index in range(60)]
    shots, questions = tuple(ids[:24]), [tuple(ids[24:30]), tuple(ids[26:31]), tuple(ids[40:44])]
    ends = ((ids[50],), (ids[50], ids[51], ids[52]), (ids[53], ids[51]))
    requests = [ScoreRequest(shots + question, ends) for question in questions]
    requests.append(ScoreRequest(tuple(ids[9:13]), ends[:2]))
    try:
        # A small budget and small limits, so that kept prefixes, joined rows and batches of several rows all occur.
        with opened.running():
            sequences = _sequences(requests, opened, opened.check_window(None))
            tree = _Tally(sequences, len(requests), None)
            _score_tree(opened, sequences, tree, 40, Limits(branch_tokens=12, keep_saving=8))
            plain = _Tally(sequences, len(requests), None)
            _score_plain(opened, sequences, plain, 1)
    except Exception as error:  # whatever a strange model raises, plain scoring is the answer
        return f"plain scoring: tree scoring failed ({type(error).__name__}: {str(error).splitlines()[0]})"
    tolerance = 1e-3 if opened.dtype == torch.float32 else 0.15
    for index, (ours, theirs) in enumerate(zip(tree.logprobs, plain.logprobs, strict=True)):
        allowed = tolerance * len(sequences.targets[index]) + tolerance * 0.1 * abs(theirs)
        if not abs(ours - theirs) <= allowed or not math.isfinite(ours):
            return f"plain scoring: tree scoring differs from the model's own by {abs(ours - theirs):.2g}"
    return None


def _sequences(requests: Sequence[ScoreRequest], opened: OpenModel, window: int | None) -> _Sequences:
    result = _Sequences([], [], [], [], [])
    room = None if window is None else window - opened.shift
    for owner, request in enumerate(requests):
        context = request.context
        if not context and opened.root is None:
            if opened.start_id is None:
                raise ModelError(
                    "an empty context cannot be scored: the model names no beginning-of-sequence token.",
                    hint="Give every request at least one context token.",
                )
            context = (opened.start_id,)
        for continuation in request.continuations:
            if not continuation:
                continue
            needed = len(continuation) - (opened.root is not None)  # without a root one context token must stay
            if room is not None and needed > room:
                raise ModelError(
                    f"request {owner}: a continuation of {len(continuation)} tokens does not fit the window of "
                    f"{window} positions" + (f", {opened.shift} of them the soft prompt's." if opened.shift else "."),
                    hint="Shorten the answer or use a model with a larger window.",
                )
            keep = len(context) if room is None else min(len(context), room - len(continuation) + 1)
            kept = context[len(context) - keep :]
            result.inputs.append(kept + continuation[:-1])
            result.first_reads.append(keep - 1)
            result.targets.append(continuation)
            result.owners.append(owner)
            result.truncated.append(len(context) - keep)
    return result


def _score_tree(
    opened: OpenModel, sequences: _Sequences, tally: _Tally, token_budget: int, limits: Limits | None = None
) -> None:
    tree = PrefixTree(sequences.inputs, sequences.first_reads, sequences.targets, sequences.owners)
    groups = tree.plan(limits or Limits())
    with opened.fast():
        root, root_hidden = opened.root_key_values()
        if root_hidden is not None and (reads := tree.root_reads()):
            _read(opened, root_hidden[None], [0] * len(reads), reads, tally)
        path: list[tuple[int, KeyValues]] = []  # the kept prefixes that lead to the current group
        for number, group in enumerate(groups):
            while path and path[-1][0] != group.parent:
                path.pop()
            prefix = path[-1][1] if path else root
            if group.segment.tokens:
                store = RowStore(len(group.segment.tokens), 1)
                _run([group.segment], opened, AttentionPlan(prefix=prefix, store=store), tally)
                store.advance(len(group.segment.tokens))
                prefix = prefix.extended(store)
            path.append((number, prefix))
            for batch in plan_batches([len(row.tokens) for row in group.rows], token_budget, MAX_ROWS):
                _run([group.rows[index] for index in batch], opened, AttentionPlan(prefix=prefix), tally)


def _run(rows: Sequence[Row], opened: OpenModel, plan: AttentionPlan, tally: _Tally) -> None:
    """One forward over packed rows, laid flat without padding; their reads go to the tally."""
    ids: list[int] = []
    depths: list[int] = []
    spans, places, reads = [], [], []
    for row in rows:
        first, size = len(ids), len(row.tokens)
        if not size:
            continue
        # Shorter chains are as fast under the mask.
        causal = row.chain if row.chain >= _CAUSAL_FROM or row.chain == size else 0
        mask = _mask(row, causal, opened) if causal < size else None
        spans.append(Span(first, first + size, causal, mask))
        places += [first + read.token for read in row.reads]
        reads += row.reads
        ids += row.tokens
        depths += row.depths
    if ids:
        if plan.store is None:
            plan.spans = spans
        else:  # a kept prefix: one chain
            plan.causal = len(ids)
        device = opened.device
        hidden = opened.hidden(torch.tensor([ids], device=device), torch.tensor([depths], device=device), plan)
        _read(opened, hidden[0], places, reads, tally)
    tally.finish([sequence for row in rows for sequence in row.finished])


def _mask(row: Row, causal: int, opened: OpenModel) -> Tensor:
    """Additive mask [1, 1, size - causal, size] of a row's tokens from `causal` on."""
    closed = torch.from_numpy(~row.mask()[None, None, causal:]).to(opened.device)
    return torch.zeros(closed.shape, dtype=opened.dtype, device=opened.device).masked_fill_(closed, -math.inf)


def _read(opened: OpenModel, hidden: Tensor, places: Sequence[int], reads: Sequence[Read], tally: _Tally) -> None:
    """Log-probabilities of the reads; hidden [positions, hidden size], `places[i]`: the position of read i."""
    if not reads:
        return
    distinct, which = np.unique(np.asarray(places), return_inverse=True)
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(0, len(distinct) + _HEAD_ROWS, _HEAD_ROWS))
    wanted = hidden[torch.from_numpy(distinct).to(hidden.device)]
    targets = torch.tensor([read.target for read in reads])
    for part, (first, last) in enumerate(pairwise(bounds)):
        if first == last:
            continue
        logits = opened.logits(wanted[part * _HEAD_ROWS : (part + 1) * _HEAD_ROWS]).float()
        chosen = order[first:last]
        row = torch.from_numpy(which[chosen] - part * _HEAD_ROWS).to(logits.device)
        target = targets[torch.from_numpy(chosen)].to(logits.device)
        highest, best = logits.max(dim=-1)
        value = logits[row, target] - highest[row]
        total = logits.sub_(highest[:, None]).exp_().sum(dim=-1).log_()
        logprobs = (value - total[row]).tolist()
        tally.add([reads[index] for index in chosen], logprobs, (best[row] == target).tolist())


def _score_plain(opened: OpenModel, sequences: _Sequences, tally: _Tally, token_budget: int) -> None:
    """Whole sequences, padded on the right, through the model's own causal forward."""
    lengths = [opened.shift + len(inputs) for inputs in sequences.inputs]
    for batch in plan_batches(lengths, token_budget, MAX_ROWS):
        width = max(len(sequences.inputs[index]) for index in batch)
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        for row, index in enumerate(batch):
            ids[row, : len(sequences.inputs[index])] = torch.tensor(sequences.inputs[index], dtype=torch.long)
        logits, _ = opened.plain_logits(ids.to(opened.device))
        before = 0 if opened.root is None else 1  # the soft prompt's last row comes first
        for row, index in enumerate(batch):
            first = sequences.first_reads[index] + before
            target = torch.tensor(sequences.targets[index], device=logits.device)
            read = torch.log_softmax(logits[row, first : first + len(target)].float(), dim=-1)
            reads = [Read(0, int(token), index) for token in sequences.targets[index]]
            values = read.gather(1, target[:, None])[:, 0].tolist()
            tally.add(reads, values, (read.argmax(dim=-1) == target).tolist())
        tally.finish(batch)
