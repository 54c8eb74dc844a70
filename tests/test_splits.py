"""Splits, duplicates, exclusions, fingerprints and data-quality warnings."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.exceptions import DataError
from harness.tasks.fingerprint import fingerprint, fingerprint_documents
from harness.tasks.quality import check_quality, mark_answers_in_corpus
from harness.tasks.split import duplicates_of, exclusions, folded, split_pool
from harness.types import Document, Example, Query


def item(name: str, text: str = "", answer: str = "x", group: str | None = None) -> Example:
    return Example(Query(name, {"question": text or f"question {name}"}, group), (answer,))


groups = st.lists(st.integers(0, 40), min_size=40, max_size=150).filter(lambda found: len(set(found)) >= 6)


@settings(max_examples=60, deadline=None)
@given(groups, st.integers(0, 5), st.randoms(use_true_random=False))
def test_grouped_splits(of_item: list[int], seed: int, shuffler: random.Random) -> None:
    pool = [item(str(i), group=None if g == 0 else f"g{g}") for i, g in enumerate(of_item)]
    splits = split_pool(pool, validation=0.1, test=0.2, group_by=True, seed=seed)
    ids = [e.id for examples in splits.values() for e in examples]
    assert sorted(ids) == sorted(e.id for e in pool)  # the union is the pool, each item once
    homes: dict[str, set[str]] = {}
    for name, examples in splits.items():
        assert examples
        for example in examples:
            if example.query.group is not None:
                homes.setdefault(example.query.group, set()).add(name)
    assert all(len(names) == 1 for names in homes.values())
    largest = max(Counter(of_item).values())
    assert abs(len(splits["test"]) - 0.2 * len(pool)) <= largest + 1
    shuffled = list(pool)
    shuffler.shuffle(shuffled)
    assert split_pool(shuffled, validation=0.1, test=0.2, group_by=True, seed=seed) == splits


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=30, max_size=120), st.booleans(), st.randoms(use_true_random=False))
def test_plain_and_stratified_splits(labels: list[str], stratify: bool, shuffler: random.Random) -> None:
    pool = [item(str(i), answer=label) for i, label in enumerate(labels)]
    arguments = {"validation": 0.15, "test": 0.25, "group_by": False, "seed": 3, "stratify": stratify}
    splits = split_pool(pool, **arguments)
    assert sorted(e.id for examples in splits.values() for e in examples) == sorted(e.id for e in pool)
    assert len(splits["test"]) == round(0.25 * len(pool))
    assert len(splits["validation"]) == round(0.15 * len(pool))
    if stratify:
        whole = Counter(labels)
        tested = Counter(e.references[0] for e in splits["test"])
        assert all(abs(tested[label] - 0.25 * whole[label]) <= 1.5 for label in whole)
    shuffled = list(pool)
    shuffler.shuffle(shuffled)
    assert split_pool(shuffled, **arguments) == splits


def test_seeds_differ_and_grouped_sizes_are_near() -> None:
    pool = [item(str(i), group=str(i // 3)) for i in range(300)]
    first = split_pool(pool, validation=0.1, test=0.2, group_by=True, seed=0)
    assert (len(first["test"]), len(first["validation"])) == (60, 30)
    assert split_pool(pool, validation=0.1, test=0.2, group_by=True, seed=1)["test"] != first["test"]


def test_shares_of_zero_are_allowed_and_empty_splits_are_not() -> None:
    pool = [item(str(i), group="one") for i in range(10)]
    splits = split_pool(pool, validation=0, test=0.2, group_by=False, seed=0)
    assert (len(splits["validation"]), len(splits["test"]), len(splits["train"])) == (0, 2, 8)
    with pytest.raises(DataError) as caught:
        split_pool(pool, validation=0.1, test=0.2, group_by=True, seed=0)
    assert "1 groups" in str(caught.value) and "more values" in caught.value.hint
    with pytest.raises(DataError, match="nothing to train on"):
        split_pool(pool, validation=0.5, test=0.5, group_by=False, seed=0)
    with pytest.raises(DataError, match="would be empty"):
        split_pool(pool[:2], validation=0.1, test=0.2, group_by=False, seed=0)


def test_duplicates_and_exclusions() -> None:
    pool = [
        item("a", "What is  the capital?", group="g"),
        item("b", "what is the capital"),
        item("c", "C++?"),
        item("d", "C?"),
        item("e", "other", group="g"),
    ]
    assert duplicates_of(pool) == {n: frozenset(o) for n, o in zip("abcde", ["b", "a", "", "", ""], strict=True)}
    found = exclusions(pool)
    assert found["a"] == {"a", "b", "e"}
    assert found["b"] == {"a", "b"}
    assert found["c"] == {"c"}
    assert found["e"] == {"a", "e"}
    assert exclusions(pool, {"c": "same", "d": "Same!"})["d"] == {"c", "d"}
    assert folded("Ça  va – “bien” ?") == "ça va bien" and folded("?!") == "?!"


def test_fingerprints_see_order_and_every_part() -> None:
    pool = [item("a"), item("b")]
    same = [Example(Query("a", {"question": "question a"}), ("x",)), pool[1]]
    assert fingerprint(pool) == fingerprint(same) and len(fingerprint(pool)) == 64
    changed = Example(pool[0].query, ("y",))
    others = [pool[::-1], pool[:1], [changed, pool[1]], [Example(pool[0].query, ("x",), ("d",)), pool[1]]]
    assert len({fingerprint(examples) for examples in [pool, *others]}) == 5
    documents = [Document("1", "text"), Document("1", "text", "title"), Document("1", "text", examples=("a",))]
    assert len({fingerprint_documents([document]) for document in documents}) == 3


def test_clean_data_has_no_warnings() -> None:
    splits = {"train": [item(str(i), answer=str(i)) for i in range(30)], "test": [item("t", answer="t")]}
    assert check_quality(splits, [Document("d", "text")], {}) == []


def test_quality_warnings_name_the_items() -> None:
    splits = {
        "train": [item(f"n{i}", answer="yes") for i in range(25)]
        + [item("a", "Same question?", "one", "g"), item("f", "same  question?", "two")],
        "validation": [item("v", "long " * 2000)],
        "test": [item("t", "same question", "one", "g"), item("b", "free", "")],
    }
    splits["test"].append(Example(Query("w", {"question": "w"}), ("w",), ("nowhere",)))
    found = check_quality(splits, [Document("d", "x"), Document("d", "y")], {})
    wanted = [
        "1 document id used more than once: 'd'.",
        "1 test input also in train: 't' is train 'a'.",
        "1 input with conflicting gold: 'a' and 'f'.",
        "1 test item without an answer: 'b'.",
        "1 group in more than one split: 'g' (train: 'a', test: 't').",
        "1 input longer than 1500 words: 'v' (2000 words).",
        "train: 25 of 27 answers are 'yes' (first: 'n0').",
        "1 evidence id not in the corpus: 'w' names 'nowhere'.",
    ]
    assert found == wanted


def test_documents_with_question_and_answer_are_marked() -> None:
    examples = [item("a", "How do I reset my password?", "Use the link"), item("b", "Who pays?", "we do")]
    inputs = {example.id: f"Question: {example.query.fields['question']}" for example in examples}
    corpus = [
        Document("faq", "FAQ. Q: how do I reset my  password? A: use the link!"),
        Document("question", "How do I reset my password? Ask us."),
        Document("answer", "Use the link to reset a password."),
        Document("titled", "We do.", title="Who pays?"),
    ]
    marked = {document.id: document.examples for document in mark_answers_in_corpus(corpus, examples, inputs)}
    assert marked == {"faq": ("a",), "question": (), "answer": (), "titled": ("b",)}
    assert mark_answers_in_corpus(corpus, [], {}) == tuple(corpus)


def test_an_item_is_found_in_a_large_corpus() -> None:
    words = [f"w{i}" for i in range(3000)]
    draw = random.Random(0)
    corpus = [Document(str(i), " ".join(draw.choices(words, k=25))) for i in range(15_000)]
    examples = [item(str(i), " ".join(draw.choices(words, k=10))) for i in range(1000)]
    corpus[77] = Document("77", f"so: {examples[5].query.fields['question']} x")
    marked = mark_answers_in_corpus(corpus, examples, {})
    assert [document.id for document in marked if document.examples] == ["77"]
