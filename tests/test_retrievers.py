"""Retrievers: the right document first, the same answer every time, ties by position."""

from __future__ import annotations

from typing import Any

import pytest

from harness.plugins import Registry
from harness.types import Document

DOCUMENTS = [
    Document("lake", "Benin: Lake Nokoue lies near the city of Cotonou.", "Benin lakes"),
    Document("hill", "Peru: the highest mountain is Nevado Huascaran.", "Peru elevation"),
    Document("twin-a", "Twin text about nothing else.", "twin"),
    Document("twin-b", "Twin text about nothing else.", "twin"),
    Document("five", "Room 5 is closed.", "rooms"),
]


@pytest.fixture(scope="module", params=["bm25", "dense"])
def retriever(request: pytest.FixtureRequest, registry: Registry) -> Any:
    built = registry.get("retriever", request.param).create()
    built.build(DOCUMENTS)
    return built


@pytest.mark.parametrize(("query", "wanted"), [("highest mountain of Peru?", "hill"), ("lake near Cotonou", "lake")])
def test_the_right_document_comes_first(retriever: Any, query: str, wanted: str) -> None:
    (found,) = retriever.search([query], 3)
    assert len(found) == 3
    assert DOCUMENTS[found[0][0]].id == wanted
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


def test_ties_go_to_the_earlier_document_and_repeat(retriever: Any) -> None:
    first = retriever.search(["twin text"], 2)
    assert [position for position, _ in first[0]] == [2, 3]
    assert retriever.search(["twin text", "room"], 2)[0] == first[0]


def test_k_beyond_the_corpus_gives_what_there_is(retriever: Any) -> None:
    assert sorted(position for position, _ in retriever.search(["Peru"], 50)[0]) == list(range(len(DOCUMENTS)))


def test_bm25_finds_words_of_one_character_and_survives_empty_queries(registry: Registry) -> None:
    bm25 = registry.get("retriever", "bm25").create()
    bm25.build(DOCUMENTS)
    assert DOCUMENTS[bm25.search(["5"], 1)[0][0][0]].id == "five"
    assert len(bm25.search([""], 2)[0]) == 2
