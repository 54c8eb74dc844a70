"""Greedy decoding that can only spell one of given answers: at each step the best token that some answer goes on with.

An answer is known, and its row leaves the batch, as soon as no other answer starts with the tokens so far: what would
be forced is not computed. With the end of turn as last token, an answer that begins another one is told apart from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.models.requests import Generation


class AnswerTrie:
    """The trie over the answers' token ids. Nodes are numbers, 0 is the root. `allowed[node]`: the ids that may come
    next, ascending. `only[node]`: the answer that is left there, or None while there are several."""

    def __init__(self, answers: Sequence[tuple[int, ...]]) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.only: list[int | None] = []
        below: list[set[int]] = [set()]
        first: dict[tuple[int, ...], int] = {}  # of answers that are spelt alike the first counts
        for index, answer in enumerate(answers):
            first.setdefault(answer, index)
        for answer, index in first.items():
            node = 0
            below[0].add(index)
            for token in answer:
                if token not in self.children[node]:
                    self.children[node][token] = len(self.children)
                    self.children.append({})
                    below.append(set())
                node = self.children[node][token]
                below[node].add(index)
        self.only = [next(iter(found)) if len(found) == 1 else None for found in below]
        self.allowed = [sorted(children) for children in self.children]


class Constrained:
    """Takes the place of sampler and ending for a batch of `rows` texts; `choices` are (text, ids) pairs whose ids are
    all ended by one token that stands nowhere else in them."""

    def __init__(self, choices: Sequence[tuple[str, tuple[int, ...]]], rows: int) -> None:
        self._choices = choices
        self._trie = AnswerTrie([ids for _, ids in choices])
        self._nodes = [0] * rows

    def pick(self, logits: Tensor, rows: Sequence[int]) -> list[int]:
        """Next token ids; logits [n, vocabulary], `rows[i]`: which text row i belongs to. Ties go to the lower id."""
        allowed = [self._trie.allowed[self._nodes[row]] for row in rows]
        width = max(map(len, allowed))
        # The first id fills short rows up: wherever it wins, it wins in its own place first.
        padded = [[*ids, *ids[:1] * (width - len(ids))] for ids in allowed]
        best = logits.gather(1, torch.tensor(padded, device=logits.device)).argmax(dim=-1).tolist()
        tokens = [ids[place] for ids, place in zip(padded, best, strict=True)]
        for row, token in zip(rows, tokens, strict=True):
            self._nodes[row] = self._trie.children[self._nodes[row]][token]
        return tokens

    def check(self, ids: Sequence[int], limit: int) -> Generation | None:
        """The answer that these tokens lead to, whole; None while there are several. `limit` is of no interest: every
        step takes the row nearer to an answer."""
        node = 0
        for token in ids:
            node = self._trie.children[node][token]
        index = self._trie.only[node]
        if index is None:
            return None
        text, answer = self._choices[index]
        return Generation(answer, text, "choice")
