"""From logits to the next token of each row, and from tokens to a finished text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.exceptions import ModelError
from harness.models.requests import Decoding, Generation

_TOP = 512  # enough tokens for nearly every nucleus; the whole vocabulary is sorted only where it is not


class Sampler:
    """Draws with one random generator per request, so that a text does not depend on its neighbours."""

    def __init__(self, decoding: Decoding, seeds: Sequence[int]) -> None:
        if decoding.temperature < 0 or not 0 < decoding.top_p <= 1:
            raise ModelError("temperature must not be negative, and top_p must be above 0 and at most 1.")
        self._decoding = decoding
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds] if decoding.temperature else []

    def pick(self, logits: Tensor, rows: Sequence[int]) -> list[int]:
        """Next token ids; logits [n, vocabulary], `rows[i]`: which request row i belongs to."""
        if not self._decoding.temperature:
            picked: list[int] = logits.float().argmax(dim=-1).tolist()  # far slower in bfloat16
            return picked
        scaled = logits.float() / self._decoding.temperature
        if self._decoding.top_p < 1:
            scaled = scaled.masked_fill(~_nucleus(scaled, self._decoding.top_p), -math.inf)
        # The Gumbel trick with noise tied to token ids: rounding in the logits (which depends on the batch) changes a
        # draw only where two candidates all but tie. Inverting a running sum would let every rounding error count.
        noise = torch.stack([torch.empty(logits.shape[-1]).exponential_(generator=self._generators[r]) for r in rows])
        drawn: list[int] = (scaled - noise.to(logits.device).log_()).argmax(dim=-1).tolist()
        return drawn


def _nucleus(scaled: Tensor, top_p: float) -> Tensor:
    """Boolean [n, vocabulary]: the fewest most likely tokens that hold `top_p` of the probability."""
    probabilities = torch.softmax(scaled, dim=-1)
    values, ids = probabilities.topk(min(_TOP, scaled.shape[-1]), dim=-1)
    if (values.sum(dim=-1) < top_p).any():
        values, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    inside = values.cumsum(dim=-1) - values < top_p
    return torch.zeros_like(probabilities, dtype=torch.bool).scatter_(1, ids, inside)


class Ending:
    """Decides when a text is finished, and cuts it."""

    def __init__(self, tokenizer: Any, decoding: Decoding) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(text for text in decoding.stop if text)
        self._eos = frozenset(decoding.eos_ids)
        # A token may stand for less than a character, a stop string for many; a tail that is too long only costs time.
        self._tail = 8 + 4 * max((len(text) for text in self._stop), default=0)

    def check(self, ids: list[int], limit: int) -> Generation | None:
        """The finished text of these new tokens, or None when more are to come."""
        if ids and ids[-1] in self._eos:
            return self._finish(ids[:-1], "stop")
        if self._stop and self._cut(self._decode(ids[-self._tail :])) is not None:
            text = self._decode(ids)
            if (cut := self._cut(text)) is not None:
                return Generation(tuple(ids), text[:cut], "stop")
        return self._finish(ids, "length") if len(ids) >= limit else None

    def _finish(self, ids: list[int], reason: str) -> Generation:
        text = self._decode(ids)
        cut = self._cut(text)
        return Generation(tuple(ids), text if cut is None else text[:cut], reason if cut is None else "stop")

    def _cut(self, text: str) -> int | None:
        places = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        return min(places, default=None)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))
