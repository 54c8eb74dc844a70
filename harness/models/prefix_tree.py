"""From scoring requests to the least work: a prefix tree over token ids, cut into kept prefixes and packed rows.

No torch here. A sequence is the tokens that are fed for one continuation: context + continuation without its last
token. Depth is a token's index in its sequence (the root's rows are not counted). A token's read says that the
distribution after it is asked for the probability of a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Read:
    """ln p(target | everything up to `token`) is wanted for `sequence`; `token` is an index in its row."""

    token: int
    target: int
    sequence: int


@dataclass
class Row:
    """A subtree packed in one row: tokens in depth-first order.

    `segments` are (first, end, parent): row indices [first, end) form a chain whose first token follows token `parent`
    of the row, or what stands before the row when `parent` is -1.
    """

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    segments: list[tuple[int, int, int]] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)

    @property
    def chain(self) -> int:
        """Leading tokens that each follow the one before."""
        return self.segments[0][1] if self.segments else 0

    def mask(self) -> np.ndarray:
        """Boolean [tokens, tokens]: may the row's token i see token j."""
        size = len(self.tokens)
        seen = np.zeros((size, size), dtype=bool)
        for first, end, parent in self.segments:
            if parent >= 0:
                seen[first:end, : parent + 1] = seen[parent, : parent + 1]
            seen[first:end, first:end] = np.tri(end - first, dtype=bool)
        return seen


@dataclass
class Group:
    """`segment`: a chain kept as key-values after those of group `parent` (-1: after the root). `rows` follow it."""

    parent: int
    segment: Row
    rows: list[Row] = field(default_factory=list)


@dataclass
class _Node:
    """Sequences [low, high) of the sorted order share the tokens up to depth `end`."""

    low: int
    high: int
    end: int
    requests: int = 0
    children: list[int] = field(default_factory=list)
    enders: list[int] = field(default_factory=list)
    below: int = 0


@dataclass(frozen=True)
class Limits:
    """`branch_tokens`: tokens beyond its chain that a row may hold (attention over branches is dense).
    `keep_saving`: tokens that keeping a prefix must save to be worth a forward of its own."""

    branch_tokens: int = 512
    keep_saving: int = 128
    join_share: float = 0.1


class PrefixTree:
    """The radix tree over `sequences`. `first_reads[i]`: depth of the first token of sequence i that is read (-1: the
    root's last row). `targets[i]`: the ids asked for, one per read. `owners[i]`: the request behind the sequence."""

    def __init__(
        self,
        sequences: Sequence[tuple[int, ...]],
        first_reads: Sequence[int],
        targets: Sequence[tuple[int, ...]],
        owners: Sequence[int],
    ) -> None:
        self.sequences, self.first_reads, self.targets, self.owners = sequences, first_reads, targets, owners
        self.order = sorted(range(len(sequences)), key=lambda index: sequences[index])
        self.nodes: list[_Node] = []
        self._build()

    def root_reads(self) -> list[Read]:
        """Reads of the root's last row: continuations that have no context but the root."""
        return [
            Read(-1, self.targets[index][0], index)
            for index in range(len(self.sequences))
            if self.first_reads[index] < 0
        ]

    def plan(self, limits: Limits) -> list[Group]:
        """Groups in depth-first order (a group's parent stands before it); the first has an empty segment."""
        groups = [Group(-1, Row())]
        waiting: list[tuple[int, int, int, list[int]]] = [(0, 0, 0, [])] if self.nodes else []
        while waiting:
            number, start, group, extra = waiting.pop()
            node = self.nodes[number]
            if not node.children or self._joins(node, start, limits):
                if row := self._row(node, start, extra):
                    groups[group].rows.append(row)
                continue
            length = node.end - start
            branches = max(len(node.children), node.requests)
            if (branches - 1) * length >= limits.keep_saving:
                groups.append(Group(group, self._segment(node, start, extra)))
                group, start, passed = len(groups) - 1, node.end, []
            else:
                # The node's tokens are repeated in each child's row; the first of them also answers its reads.
                passed = extra + node.enders
            for position, child in reversed(list(enumerate(node.children))):
                waiting.append((child, start, group, passed if position == 0 else []))
        return groups

    def _build(self) -> None:
        arrays = [np.asarray(self.sequences[index], dtype=np.int64) for index in self.order]
        shared = np.zeros(len(arrays) + 1, dtype=np.int64)  # shared[i]: common prefix of sorted sequences i-1 and i
        for index in range(1, len(arrays)):
            size = min(len(arrays[index - 1]), len(arrays[index]))
            differs = np.flatnonzero(arrays[index - 1][:size] != arrays[index][:size])
            shared[index] = differs[0] if len(differs) else size
        waiting = [(0, len(arrays), -1)] if arrays else []
        while waiting:
            low, high, parent = waiting.pop()
            end = int(shared[low + 1 : high].min()) if high - low > 1 else len(arrays[low])
            number = len(self.nodes)
            node = _Node(low, high, end)
            self.nodes.append(node)
            if parent >= 0:
                self.nodes[parent].children.append(number)
            cuts = [low, *(low + 1 + np.flatnonzero(shared[low + 1 : high] == end)).tolist(), high]
            node.requests = len({self.owners[self.order[index]] for index in range(low, high)})
            for first, last in reversed(list(pairwise(cuts))):
                if len(arrays[first]) > end:
                    waiting.append((first, last, number))
                else:
                    node.enders.extend(self.order[index] for index in range(first, last))
        for node in reversed(self.nodes):
            node.below = sum(self.nodes[child].end - node.end + self.nodes[child].below for child in node.children)

    def _joins(self, node: _Node, start: int, limits: Limits) -> bool:
        if node.below > limits.branch_tokens:
            return False
        length = node.end - start
        branches = len(node.children) + bool(node.enders)
        return (branches - 1) * length >= limits.join_share * (length + node.below)

    def _segment(self, node: _Node, start: int, extra: list[int]) -> Row:
        tokens = self.sequences[self.order[node.low]][start : node.end]
        row = Row(list(tokens), list(range(start, node.end)), [(0, len(tokens), -1)], finished=extra + node.enders)
        for index in [*extra, *(self.order[place] for place in range(node.low, node.high))]:
            self._read(row, index, range(len(tokens)), start)
        return row

    def _row(self, node: _Node, start: int, extra: list[int]) -> Row | None:
        row = Row()
        path: list[int] = []  # row index of the token at depth start, start + 1, ...
        waiting = [(node, start)]
        while waiting:
            current, first_depth = waiting.pop()
            del path[first_depth - start :]
            tokens = self.sequences[self.order[current.low]][first_depth : current.end]
            if tokens:
                first = len(row.tokens)
                row.segments.append((first, first + len(tokens), path[-1] if path else -1))
                path.extend(range(first, first + len(tokens)))
                row.tokens.extend(tokens)
                row.depths.extend(range(first_depth, current.end))
            enders = current.enders + extra if current is node else current.enders
            for index in enders:
                self._read(row, index, path, start)
            row.finished.extend(enders)
            waiting.extend((self.nodes[child], current.end) for child in reversed(current.children))
        return row if row.tokens or row.finished else None

    def _read(self, row: Row, index: int, path: Sequence[int], start: int) -> None:
        first = self.first_reads[index]
        last = min(len(self.sequences[index]), start + len(path))
        for depth in range(max(first, start), last):
            row.reads.append(Read(path[depth - start], self.targets[index][depth - first], index))
