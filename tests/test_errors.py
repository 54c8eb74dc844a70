"""Error categories: planted cases, near-misses that must not fire, and no text without a category."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import taxonomy
from harness.exceptions import PluginError
from harness.plugins import Origin, Registered
from harness.types import ErrorClassifier, ErrorLabel, EvalContext, Example, Passage, Prediction, Query
from harness_plugins.errors import SPECS as ALL
from harness_plugins.metrics.numbers import numbers
from harness_plugins.metrics.text import match_label, mentioned_labels

SPECS = [spec for spec in ALL if spec.default]  # the others are categories of the user's own: see test_criteria
FREE = EvalContext(readout="generate", input="What is the capital of France?")
LABELS = EvalContext(readout="generate", labels=("billing", "refund", "card payment"))
LONG = "The country that you are asking about has a long history and its seat of government is the city of Paris now."


def create(name: str, **options):
    spec = next(spec for spec in SPECS if spec.name == name)
    return Registered("error classifier", spec, Origin("t", "t", "0")).create(options)


SURFACE, GROUNDING = create("surface"), create("grounding")


def predicted(text: str, finish="stop", prompt="", passages=(), error=None) -> Prediction:
    return Prediction("1", prompt, text, text, finish, 9, 9, passages=passages, error=error)


def gold(*references: str, evidence=()) -> Example:
    return Example(Query("1", {}), references, evidence)


def labels(text: str, *references: str, context=FREE, finish="stop", prompt="") -> set[str]:
    found = SURFACE.classify(predicted(text, finish, prompt), gold(*references), context)
    return {label.category for label in found}


def first(text: str, *references: str, **options) -> str:
    return taxonomy.primary([ErrorLabel(name) for name in labels(text, *references, **options)])


@pytest.mark.parametrize(
    ("text", "reference", "finish", "expected"),
    [
        # right
        ("Paris", "Paris", "stop", {"correct"}),
        ("the PARIS!", "Paris", "length", {"correct"}),
        ("The capital is Paris.", "Paris", "stop", {"correct"}),
        ("Paris, which is", "Paris", "length", {"correct", "truncated"}),
        ("", "", "stop", {"correct"}),
        ("?!", "?!", "stop", {"correct"}),
        # nothing
        ("", "Paris", "stop", {"empty"}),
        (" \n\u200b", "Paris", "stop", {"empty"}),
        ("...!?", "Paris", "stop", {"empty"}),
        ("?!", "", "stop", {"empty"}),
        ("🙂", "Paris", "stop", {"wrong_answer"}),
        # wrong
        ("London", "Paris", "stop", {"wrong_answer"}),
        ("Parisian", "Paris", "stop", {"wrong_answer"}),
        # form
        (LONG, "Paris", "stop", {"format"}),
        (f"{LONG} It is old.", "Paris", "stop", {"verbose", "format"}),
        (LONG, LONG.replace("city", "town"), "stop", {"partially_correct"}),
        (LONG.replace("Paris", "London"), "Paris", "stop", {"wrong_answer"}),
        (
            'The value is {"a": 1} and that is all there is to say about it, I do think so.',
            '{"a": 1}',
            "stop",
            {"format"},
        ),
        # loops
        ("Paris Paris Paris Paris", "Paris", "stop", {"repetitive"}),
        ("Paris Paris Paris", "Paris", "stop", {"repetitive"}),
        ("Paris, Paris", "Paris", "stop", {"correct"}),
        ("a river, a river, a river, a river", "Paris", "stop", {"wrong_answer", "repetitive"}),
        ("red cat red cat red cat", "Paris", "stop", {"wrong_answer", "repetitive"}),
        ("red cat red cat", "Paris", "stop", {"wrong_answer"}),
        ("ha" * 30, "Paris", "stop", {"wrong_answer", "repetitive"}),
        ("1. Oslo\n2. Oslo\n3. Oslo\n4. Oslo", "Paris", "stop", {"wrong_answer", "repetitive"}),
        ("red cat sat on hill red cat sat on hill", "Paris", "stop", {"wrong_answer", "repetitive"}),
        ("row row row row your ship", "row row row row your boat", "stop", {"partially_correct"}),
        # cut
        ("It is a large city in the", "Paris", "length", {"wrong_answer", "truncated"}),
        ("It is a large city.", "Paris", "length", {"wrong_answer"}),
        ("It is a large city in the", "Paris", "stop", {"wrong_answer"}),
        ("Cities: 1. London 2.", "Paris", "length", {"wrong_answer", "truncated"}),
        # numbers
        ("1946", "1945", "stop", {"numeric", "wrong_answer"}),
        ("in 1945", "1945", "stop", {"correct"}),
        ("5,000", "5000 km", "stop", {"partially_correct"}),
        ("4 km", "5000 km", "stop", {"wrong_answer", "numeric"}),
        ("a lot", "5000 km", "stop", {"wrong_answer"}),
        ("in 1946", "Paris", "stop", {"wrong_answer"}),
        ("3 bags of 4 and 5 of 6 make 42", "42", "stop", {"correct"}),
        ("3 * 4 = 12 and 12 + 5 = 18", "17", "stop", {"numeric", "wrong_answer"}),
        ("He has 3 and gets 4, and the answer is 8", "7", "stop", {"numeric", "wrong_answer"}),
        ("First 3 bags hold 4 of what we have in 5 and 6 of", "7", "length", {"wrong_answer", "truncated"}),
        # parts
        ("English", "English, French and Dutch", "stop", {"missing_part"}),
        ("English and French", "English, French", "stop", {"partially_correct"}),
        ("German", "English, French", "stop", {"wrong_answer"}),
        # refusals
        ("I'm sorry, but I can't help with that.", "Paris", "stop", {"refusal", "wrong_answer"}),
        ("As an AI language model, I have no opinion", "Paris", "stop", {"refusal", "wrong_answer"}),
        ("I don’t know.", "Paris", "stop", {"refusal", "wrong_answer"}),
        ("I don't know, perhaps Paris", "Paris", "stop", {"correct"}),
        ("A refusal is not what the king could provide", "Paris", "stop", {"wrong_answer"}),
        ("He said: I am sorry for you", "Paris", "stop", {"wrong_answer"}),
    ],
)
def test_surface_categories(text, reference, finish, expected):
    assert labels(text, reference, finish=finish) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("refund", {"correct"}),
        ("Refund.", {"correct"}),
        ("The label is refund, I think", {"format"}),
        ("billing", {"wrong_answer"}),
        ("It is billing", {"wrong_answer"}),
        ("billing or refund", {"off_label"}),
        ("shipping", {"off_label"}),
        ("", {"empty", "off_label"}),
        ("Refunds.", {"format"}),
        ("refunds and billing", {"off_label"}),
        ("refunded", {"off_label"}),
    ],
)
def test_label_tasks(text, expected):
    assert labels(text, "refund", context=LABELS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A. a bus", {"format"}),
        ("The answer is A", {"format"}),
        ("A is right", {"format"}),
        ("A person takes the bus.", {"off_label"}),
        ("It is a bus", {"off_label"}),
        ("B) a train", {"wrong_answer"}),
    ],
)
def test_the_article_names_no_letter(text, expected):
    assert labels(text, "A", context=EvalContext("generate", labels=("A", "B"))) == expected


def test_a_long_label_that_is_chosen_is_correct_and_a_choice_is_never_verbose():
    context = EvalContext("choose", labels=("a b c d e f g h i j k l m n o p q", "x"))
    assert labels(context.labels[0], context.labels[0], context=context, finish="choice") == {"correct"}
    assert "format" not in labels("x", context.labels[0], context=context, finish="choice")


def test_copied_prompt():
    prompt = "Answer the question in one word. What is the name of the city where the king of France lived?"
    copy = "what is the name of the city where the king of France lived?"
    assert "copied_prompt" in labels(copy, "Paris", prompt=prompt)
    assert first(copy, "Paris", prompt=prompt) == "copied_prompt"
    assert "copied_prompt" not in labels("the name of the city", "Paris", prompt=prompt)
    assert "copied_prompt" in labels(copy.replace("city", "town"), "Paris", prompt=prompt)  # nearly all of it
    restated = "The name of the city where the king of France lived is not known to me or to anybody else here"
    assert "copied_prompt" not in labels(restated, "Paris", prompt=prompt)
    chat = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    assert "copied_prompt" in labels(copy, "Paris", prompt=chat)
    assert first(copy, copy, prompt=prompt) == "correct"


def test_what_cannot_be_judged():
    found = SURFACE.classify(predicted("", "error", error="worker died"), gold("x"), FREE)
    assert found == [ErrorLabel("harness_error", "worker died")]
    assert labels("x") == {"no_reference"}
    assert labels("", "x", finish="overflow") == {"overflow"}
    blames = [taxonomy.blame(name) for name in ("harness_error", "no_reference", "overflow", "retrieval_miss", "mine")]
    assert blames == ["harness", "data", "model", "retrieval", "model"]


def test_settings_move_the_thresholds():
    strict = create("surface", verbose_ratio=1.0, verbose_sentence_words=1, long_words=1)
    found = strict.classify(predicted("The capital is Paris."), gold("Paris"), FREE)
    assert {label.category for label in found} == {"verbose", "format"}


# ------------------------------------------------------------------------------------------------- grounding


def grounding(text: str, passage: str, *references: str, context=FREE, evidence=()) -> set[str]:
    shown = (Passage("d1", "France", passage, 1.0, 1),)
    found = GROUNDING.classify(predicted(text, passages=shown), gold(*references, evidence=evidence), context)
    return {label.category for label in found}


def test_grounding():
    assert grounding("London", "Its river is the Seine.", "Paris") == {"retrieval_miss"}
    assert grounding("London", "Its river is the Seine.", "Paris", evidence=("d1",)) == {"unsupported"}
    assert grounding("London", "The capital is Paris.", "Paris") == {"unsupported"}
    assert grounding("the capital", "The capital is Paris.", "Paris") == set()
    assert grounding("Paris", "Its river is the Seine.", "Paris") == set()
    assert grounding("London", "comparisons", "Paris") == {"retrieval_miss"}
    assert grounding("billing", "Nothing.", "refund", context=LABELS) == set()
    assert GROUNDING.classify(predicted("London"), gold("Paris"), FREE) == []


# -------------------------------------------------------------------------------------------------- taxonomy


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["wrong_answer"], "wrong_answer"),
        (["truncated", "correct"], "correct"),
        (["verbose", "format"], "verbose"),
        (["wrong_answer", "verbose"], "wrong_answer"),
        (["wrong_answer", "verbose", "truncated"], "truncated"),
        (["truncated", "verbose", "format"], "verbose"),
        (["truncated"], "truncated"),
        (["wrong_answer", "retrieval_miss", "refusal"], "retrieval_miss"),
        (["wrong_answer", "truncated", "repetitive"], "repetitive"),
        (["wrong_answer", "my_own", "other_own"], "my_own"),
        (["numeric", "my_own"], "numeric"),
        ([], "unclassified"),
    ],
)
def test_primary(names, expected):
    assert taxonomy.primary([ErrorLabel(name) for name in names]) == expected


def test_categories_are_complete_and_found_by_name():
    assert len(set(taxonomy.ORDER)) == len(taxonomy.CATEGORIES)
    for category in taxonomy.CATEGORIES:
        assert category.meaning and (category.remedy or category.name == "correct")
        assert category.severity in range(4) and category.blame in ("model", "retrieval", "data", "harness")
    with pytest.raises(PluginError) as caught:
        taxonomy.category("repetetive")
    assert "'repetitive'" in caught.value.hint


def test_specs_name_known_categories_in_the_order_of_the_taxonomy():
    for spec in SPECS:
        assert isinstance(create(spec.name), ErrorClassifier)
        positions = [taxonomy.ORDER.index(name) for name in spec.categories]
        assert positions == sorted(positions)


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=80) | st.lists(st.sampled_from(["Paris", "x", "1", "the", "."]), max_size=30).map(" ".join),
    st.lists(st.text(max_size=20), max_size=3),
    st.sampled_from(["stop", "length", "choice", "overflow", "error"]),
    st.sampled_from([FREE, LABELS]),
)
def test_every_prediction_gets_a_known_category_and_evidence(text, references, finish, context):
    passages = (Passage("d", "t", "Paris is big", 1.0, 1),)
    prediction, example = predicted(text, finish, prompt=text, passages=passages), gold(*references)
    found = SURFACE.classify(prediction, example, context)
    both = [*found, *GROUNDING.classify(prediction, example, context)]
    names = [label.category for label in both]
    assert found and len(set(names)) == len(names) and set(names) <= set(taxonomy.ORDER)
    assert all(0 < len(label.evidence) <= 250 for label in both)
    assert taxonomy.primary(both) in names


@pytest.mark.parametrize(
    "text",
    ["word another thing " * 5500, "x" * 100_000, "\x1b[31m" * 20_000, "عربي " * 20_000, "🙂" * 100_000, "{" * 100_000],
)
def test_long_and_odd_answers(text):
    found = SURFACE.classify(predicted(text, "length", prompt=text[:5000]), gold("Paris", "12 km"), FREE)
    assert found and taxonomy.primary(found) != "correct"


# ------------------------------------------------------------------- what classifiers read: labels and numbers


def test_labels_match_by_ever_looser_forms():
    labels = ("card_arrival", "Refund", "other issue")
    assert match_label("card arrival.", labels) == "card_arrival"
    assert match_label(" refund\n", labels) == "Refund"
    assert match_label("**Other  issue**", labels) == "other issue"
    assert match_label("the refund", labels) is None
    assert match_label("", labels) is None


def test_labels_that_differ_only_in_case_or_spaces_are_told_apart():
    labels = ("Refund", "refund", "a b", "a  b")
    assert [match_label(label, labels) for label in labels] == list(labels)
    assert match_label("REFUND", labels) is None
    assert match_label(" a b", labels) is None


@given(st.text(max_size=50), st.lists(st.text(max_size=8), max_size=5, unique=True).map(tuple))
def test_label_matching_never_crashes(text, labels):
    found = match_label(text, labels)
    assert found is None or found in labels
    assert set(mentioned_labels(text, labels)) <= set(labels)
    assert all(match_label(label, labels) == label for label in labels)


def test_mentioned_labels_prefer_the_longest():
    labels = ("card", "card payment", "cash")
    assert mentioned_labels("It is a card-payment.", labels) == ["card payment"]
    assert mentioned_labels("card or cash", labels) == ["card", "cash"]
    assert mentioned_labels("discard", labels) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,234.5 people", [1234.5]),
        ("-3 and −4", [-3, -4]),
        ("3-5", [3, 5]),
        ("H2O, H22, COVID-19", [19]),
        ("5.3 million", [5.3e6]),
        ("$2bn", [2e9]),
        ("1,5", [1, 5]),
        (".5 or 2e3", [0.5, 2000]),
        ("٣", [3]),
        ("人口5000人", [5000]),
        ("1e9999", []),
        ("9" * 5000, []),
        ("none", []),
    ],
)
def test_numbers(text, found):
    assert list(numbers(text)) == pytest.approx(found)


@given(st.text(max_size=60))
def test_numbers_never_crash(text):
    assert all(math.isfinite(number) for number in numbers(text))


@given(st.integers(-(10**12), 10**12))
def test_numbers_read_back_what_was_written(number):
    assert list(numbers(f"about {number:,} of them")) == [number]
