"""Decoding that can only spell one of given answers, against the plain reference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.models.constrained import AnswerTrie
from harness.models.generation import generate
from harness.models.requests import Decoding, GenerateRequest
from tests import reference_engine
from tests.engine_models import KINDS, Letters, variant

END = 2


def _answers(draw: Any, count: int) -> list[tuple[int, ...]]:
    """Answers that share beginnings, some the beginning of another, each with the end token."""
    drawn = draw(st.lists(st.lists(st.integers(4, 8), max_size=4).map(tuple), min_size=2, max_size=count, unique=True))
    return [(*ids, END) for ids in drawn]


@st.composite
def choices(draw: Any) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((f"label {number}", ids) for number, ids in enumerate(_answers(draw, 7)))


prompts = st.lists(st.lists(st.integers(4, 49), min_size=1, max_size=9).map(tuple), min_size=1, max_size=5)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_constrained_decoding_equals_the_reference(kind: str, plain: bool) -> None:
    model = variant(kind)

    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @given(choices(), prompts)
    def agrees(choices: tuple[tuple[str, tuple[int, ...]], ...], prompts: list[tuple[int, ...]]) -> None:
        requests = [GenerateRequest(prompt, 1) for prompt in prompts]
        made = generate(model, Letters(), requests, Decoding(choices=choices), max_rows=3, plain=plain)
        by_ids = {ids: text for text, ids in choices}
        for prompt, found in zip(prompts, made, strict=True):
            assert found is not None and found.finish == "choice"
            expected = reference_engine.constrained_ids(model, prompt, [ids for _, ids in choices])
            assert (found.ids, found.text) == (expected, by_ids[expected])

    agrees()


@given(st.data())
def test_a_walk_down_the_trie_always_ends_at_an_answer(data: st.DataObject) -> None:
    answers = _answers(data.draw, 9)
    trie = AnswerTrie(answers)
    node, ids = 0, []
    while trie.only[node] is None:
        ids.append(data.draw(st.sampled_from(trie.allowed[node])))
        node = trie.children[node][ids[-1]]
    index = trie.only[node]
    assert index is not None
    left = [answer for answer in answers if list(answer[: len(ids)]) == ids]
    assert left == [answers[index]]


def test_answers_that_are_spelt_alike_count_as_the_first() -> None:
    assert AnswerTrie([(5, END), (4, END), (5, END)]).only[1] == 0
