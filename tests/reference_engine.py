"""The slow, plain reference for the engines: one sequence at a time, no cache, the whole forward for every token."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from harness.models.requests import ContinuationScore, ScoreRequest
from harness.models.variant import Variant


def logits(variant: Variant, ids: Sequence[int]) -> torch.Tensor:
    """Logits [root length + len(ids), vocabulary] of the model's own forward."""
    model = variant.model
    with torch.no_grad():
        embeds = model.get_input_embeddings()(torch.tensor([list(ids)], dtype=torch.long))
        if variant.root is not None:
            embeds = torch.cat([variant.root[None], embeds], dim=1)
        return model(inputs_embeds=embeds, use_cache=False).logits[0]


def score_one(variant: Variant, context: Sequence[int], answer: Sequence[int], window: int) -> ContinuationScore:
    """A continuation's score; what does not fit is cut from the context's left."""
    root = 0 if variant.root is None else len(variant.root)
    context = list(context)
    if not context and not root:
        context = [int(variant.model.config.bos_token_id)]
    dropped = 0
    while root + len(context) + len(answer) - 1 > window:
        context.pop(0)
        dropped += 1
    if not answer:
        return ContinuationScore(0.0, True, 0)
    table = torch.log_softmax(logits(variant, [*context, *answer[:-1]]).float(), dim=-1)
    rows = table[root + len(context) - 1 :]
    total = sum(float(row[token]) for row, token in zip(rows, answer, strict=True))
    greedy = all(int(row.argmax()) == token for row, token in zip(rows, answer, strict=True))
    return ContinuationScore(total, greedy, len(answer), dropped)


def score(variant: Variant, requests: Sequence[ScoreRequest], window: int) -> list[list[ContinuationScore]]:
    return [[score_one(variant, item.context, answer, window) for answer in item.continuations] for item in requests]


def greedy_ids(variant: Variant, prompt: Sequence[int], new_tokens: int, eos: Sequence[int] = ()) -> list[int]:
    """Greedy continuation, without the end token."""
    ids: list[int] = []
    while len(ids) < new_tokens:
        token = int(logits(variant, [*prompt, *ids])[-1].argmax())
        if token in eos:
            break
        ids.append(token)
    return ids


def constrained_ids(variant: Variant, prompt: Sequence[int], answers: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """One token at a time, every one by a forward of the whole sequence, all tokens but those of answers masked out."""
    ids: tuple[int, ...] = ()
    while ids not in answers:
        row = logits(variant, [*prompt, *ids])[-1]
        following = {answer[len(ids)] for answer in answers if answer[: len(ids)] == ids}
        masked = [float(row[token]) if token in following else -math.inf for token in range(len(row))]
        ids = (*ids, masked.index(max(masked)))
    return ids
