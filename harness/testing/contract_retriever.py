"""What every retriever promises."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

from harness.guard import expect_hits, untouched
from harness.testing.promise import NotApplicable, Subject, promise, require
from harness.testing.tiny import tiny_questions
from harness.types import Document

QUERIES = ("What is the capital of Peru?", "capital", "What is the capital of Kenya?", "", "答案 🙂")


def built(subject: Subject, documents: tuple[Document, ...]) -> Any:
    retriever = subject.create()
    retriever.build(documents)
    return retriever


@promise("retriever")
def answers_well_formed(subject: Subject) -> None:
    """One list a query, in the queries' order, of at most k documents, best first, none twice; any text will do."""
    documents = tiny_questions().corpus
    retriever = built(subject, documents)
    for k in (1, 3, len(documents)):
        found = retriever.search(list(QUERIES), k)
        hits = expect_hits("", found, len(QUERIES), k, len(documents))
        require(
            all(math.isfinite(score) for ranked in hits for _, score in ranked), "gives scores that are not finite."
        )


@promise("retriever")
def order_kept(subject: Subject) -> None:
    """A query's answer depends on that query alone: not on the others in the batch, nor on their order."""
    retriever = built(subject, tiny_questions().corpus)
    queries = list(QUERIES[:3])
    together = [[position for position, _ in hits] for hits in retriever.search(queries, 3)]
    backward = [[position for position, _ in hits] for hits in retriever.search(queries[::-1], 3)][::-1]
    alone = [[position for position, _ in retriever.search([query], 3)[0]] for query in queries]
    require(together == backward == alone, "gives a query other documents when other queries stand beside it.")


@promise("retriever")
def deterministic(subject: Subject) -> None:
    """Built twice, it finds the same; of equally good documents the earlier comes first."""
    corpus = tiny_questions().corpus
    twins = (*corpus[:2], *(Document(f"twin{n}", corpus[0].text, corpus[0].title) for n in range(2)))
    one, two = built(subject, twins), built(subject, twins)
    query = corpus[0].text
    first = [position for position, _ in one.search([query], 3)[0]]
    require(first == [position for position, _ in two.search([query], 3)[0]], "finds other documents when built again.")
    equal = [position for position in first if twins[position].text == corpus[0].text]
    require(equal == sorted(equal), "does not put the earlier of two equal documents first.")


@promise("retriever")
def smaller_k_is_a_prefix(subject: Subject) -> None:
    """The best document is the same however many are asked for."""
    retriever = built(subject, tiny_questions().corpus)
    for query in QUERIES[:3]:
        many = [position for position, _ in retriever.search([query], 4)[0]]
        few = [position for position, _ in retriever.search([query], 2)[0]]
        require(few == many[: len(few)], f"finds {few} of two and {many} of four for '{query}'.")


@promise("retriever")
def finds_the_obvious(subject: Subject) -> None:
    """A query that repeats a document's own text finds it first."""
    documents = tiny_questions().corpus
    retriever = built(subject, documents)
    found = retriever.search([document.text for document in documents], 1)
    hits = sum(bool(ranked) and ranked[0][0] == position for position, ranked in enumerate(found))
    require(hits >= len(documents) / 2, f"finds {hits} of {len(documents)} documents by their own text.")


@promise("retriever")
def leaves_arguments_alone(subject: Subject) -> None:
    """It changes neither the documents nor the queries."""
    documents, queries = tiny_questions().corpus, list(QUERIES)
    with untouched("", "searching", documents=documents, queries=queries):
        built(subject, documents).search(queries, 2)


@promise("retriever")
def memory_released(subject: Subject) -> None:
    """Its documents go when it goes: nothing outlives it in a module."""
    task = tiny_questions()
    try:
        document = weakref.ref(task.corpus[0])
    except TypeError:
        raise NotApplicable("documents cannot be watched") from None
    retriever = built(subject, task.corpus)
    del retriever, task
    gc.collect()
    require(document() is None, "keeps its documents alive after it is gone.")
