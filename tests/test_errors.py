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
        ("Paris Paris Paris Paris", "Paris", "stop", {"repetitive", "format"}),
        ("Paris Paris Paris", "Paris", "stop", {"correct"}),
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
        ("4 km", "5000 km", "stop", {"partially_correct", "numeric"}),
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


REWRITE = "Rewrite the sentence in the past tense.\nThe dog is chasing a ball."
SHOTS = "Q: What colour is snow?\nA: Snow is white, of course.\nQ: What do cows eat?\nA:"
OPTIONS = "Where do we sleep?\n(A) in the kitchen sink\n(B) in the bed upstairs\n(C) on a very old roof\nWhich letter?"


@pytest.mark.parametrize(
    ("prompt", "text", "reference", "copied"),
    [
        (REWRITE, "The dog is chasing a ball.", "The dog was chasing a ball.", True),
        (REWRITE, "the Dog is chásing a ball", "The dog was chasing a ball.", True),
        (REWRITE, "A dog was chasing balls.", "The dog was chasing a ball.", False),
        (REWRITE, "The dog is chasing a", "The dog was chasing a ball.", False),
        (SHOTS, "Snow is white, of course.", "grass", True),
        (SHOTS, "white, of course", "grass", False),
        (OPTIONS, "(A) in the kitchen sink", "B", False),
        (OPTIONS, "on a very old roof", "B", False),
        ("", "The dog is chasing a ball.", "The dog was chasing a ball.", False),
    ],
)
def test_short_copies_are_whole_sentences_of_the_prompt(prompt, text, reference, copied):
    assert ("copied_prompt" in labels(text, reference, prompt=prompt)) is copied


def test_a_copy_that_was_cut_off():
    text = "Rewrite the sentence in the past"
    assert "copied_prompt" in labels(text, "He ran.", prompt=REWRITE, finish="length")
    assert "copied_prompt" not in labels(text, "He ran.", prompt=REWRITE)


@pytest.mark.parametrize(
    ("demand", "text", "reference", "expected"),
    [
        ("Answer with one word.", "The capital is Paris.", "Paris", {"format"}),
        ("One word only.", "The capital is Paris.", "Paris", {"format"}),
        ("Give the number only.", "There are 12 of them.", "12", {"format"}),
        ("Reply with a number, nothing else.", "There are 12 of them.", "12", {"format"}),
        ("Answer in at most three words.", "The capital is Paris.", "Paris", {"correct"}),
        ("Answer in at most three words.", "The capital is clearly Paris.", "Paris", {"format"}),
        ("Use a short phrase, without explanation.", "The capital of France is Paris.", "Paris", {"format"}),
        ("In as few words as possible!", "It is called Paris.", "Paris", {"format"}),
        ("Do not write a sentence, just the name.", "In Paris.", "Paris", {"correct"}),
        ("Answer with one word.", "Paris", "Paris", {"correct"}),
        ("Answer with one word.", "It is London.", "Paris", {"wrong_answer"}),
        ("Answer in one sentence.", "The capital is Paris.", "Paris", {"correct"}),
        ("Use the word 'one' in it.", "The capital is Paris.", "Paris", {"correct"}),
    ],
)
def test_closed_forms_that_a_prompt_demands(demand, text, reference, expected):
    assert labels(text, reference, prompt=f"What is it? {demand}") == expected


def test_a_demand_is_read_from_the_last_turn_and_the_first():
    shots = "<|im_start|>user\nWhich? One word only.<|im_end|>\n<|im_start|>assistant\nRome<|im_end|>\n"
    last = "<|im_start|>user\nWhat is the capital?<|im_end|>\n<|im_start|>assistant\n"
    system = "<|im_start|>system\n{}<|im_end|>\n"
    said = ("The capital is Paris.", "Paris")
    assert labels(*said, prompt=system.format("You are helpful.") + shots + last) == {"correct"}
    assert labels(*said, prompt=system.format("Answer with one word.") + shots + last) == {"format"}
    asked = last.replace("capital?", "capital? One word only.")
    assert labels(*said, prompt=system.format("You are helpful.") + shots + asked) == {"format"}


@pytest.mark.parametrize(
    ("text", "verbose"),
    [
        ("It is London. " + "The city has many old houses and parks. " * 2 + "I like it.", True),
        ("It is London, " + "a city with many old houses and parks and so on " * 2, False),
        ("It is London, " + "a city with many old houses and parks, shops, schools, roads and so on " * 2, True),
        ("It is London. It has parks.", False),
    ],
)
def test_verbose_goes_on_after_the_answer(text, verbose):
    assert ("verbose" in labels(text, "Paris")) is verbose


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("She is a friend who is a friend who is.", True),
        ("A-7/A-7/A-7/A-7", True),
        ("2.2.2.2.2.2", True),
        ("1. Oslo\n2. Rome\n3. Bern\n4. Oslo\n5. Rome\n6. Bern\n7. Oslo\n8. Rome\n9. Bern", True),
        ("a red bird, a red cat, a red bird, a blue cat, a red bird, a red cat", True),
        ("To see how long it takes we count the days of both, so to see how long it takes we count the days", True),
        ("Rome, Bern, Oslo, Paris, Vienna, Madrid, Lisbon, Athens, Dublin, Prague", False),
        ("The old man saw the old dog, and the dog saw the man.", False),
        ("12.5.2020 and 3.4.2021, or 1,000,000", False),
        ("The water is called the water of the lake by people who live on the other side of it.", False),
    ],
)
def test_near_loops(text, loop):
    assert ("repetitive" in labels(text, "Paris")) is loop


@pytest.mark.parametrize(
    ("text", "reference", "question", "numeric"),
    [
        ("The square root of 49 is 8.", "The square root of 49 is 7.", "What is the square root of 49?", True),
        ("The square root of 49 is 7.", "The square root of 49 is 7.0.", "What is the square root of 49?", False),
        ("It is 49 degrees.", "The water is 20 degrees warm.", "How warm is it?", True),
        ("In 1815", "In 1805", "When was it?", True),
        ("en 1815", "En 1805", "¿Cuándo?", True),
        ("There are no lakes.", "3", "How many lakes are there?", True),
        ("None", "3", "How many lakes are there?", True),
        ("five", "four", "How many?", True),
        ("There are nobody's lakes.", "3", "How many lakes are there?", False),
        ("Of the 12 there are 5 left.", "4", "How many of the 12 are left?", True),
        ("Of the 12 there are 4 left.", "4 left", "How many of the 12 are left?", False),
        ("She paid 30 for it.", "She bought it in 2012 for the price of a car.", "What did she do?", False),
        (
            "The point is at 30 degrees.",
            "The point is at -30 degrees.",
            "Correct it: teh point is at -30 degrees.",
            False,
        ),
    ],
)
def test_numbers_that_were_asked_for(text, reference, question, numeric):
    context = EvalContext("generate", input=question)
    assert ("numeric" in labels(text, reference, context=context)) is numeric


def test_a_calculation_that_was_cut_off_says_its_last_result_only():
    context = EvalContext("generate", input="How many eggs are 6 boxes of 12?")
    for text, numeric in [
        ("So we take 6 * 15", False),
        ("We have 6 * 15 = 90 eggs, and", True),
        ("It is 15 eggs,", True),
    ]:
        assert ("numeric" in labels(text, "72", context=context, finish="length")) is numeric


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("The passage doesn't mention it.", True),
        ("That is not stated in the text.", True),
        ("I would rather not discuss this.", True),
        ("I'm not equipped to tell.", True),
        ("There's no answer in this article.", True),
        ("I have no idea!", True),
        ("It is impossible to say who it was.", True),
        ("He would rather not go to London.", False),
        ("The answer is not Lyon, it is Nice.", False),
        ("There is no river in that town.", False),
    ],
)
def test_phrases_of_declining(text, refusal):
    assert ("refusal" in labels(text, "Paris")) is refusal


def test_declining_is_no_refusal_where_the_reference_or_the_label_declines():
    assert "refusal" not in labels("I don't know that.", "The text does not say.")
    context = EvalContext("generate", labels=("yes", "cannot be determined"))
    assert "refusal" not in labels("cannot be determined", "yes", context=context)
    assert "refusal" in labels("I don't know whether yes", "yes", context=context)


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("It is Brasilia.", "Brasília", {"correct"}),
        ("Bob is a 33-year-old man.", "33", {"correct"}),
        ("Bob is a 33-year-old man.", "3", {"numeric", "wrong_answer"}),
        ("It is Brasilia.", "Brasov", {"wrong_answer"}),
    ],
)
def test_accents_and_joined_units_do_not_hide_the_answer(text, reference, expected):
    assert labels(text, reference) == expected


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("Towns:\nA. Bern\nB.", True),
        ('He called it "', True),
        ("The towns are (", True),
        ("It has vitamin C.", False),
        ('He called it "home"', False),
    ],
)
def test_ends_that_are_none(text, cut):
    assert ("truncated" in labels(text, "Paris", finish="length")) is cut


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
