"""Misspelt words and answers in another language: planted cases and near-misses that must not fire."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.plugins import Origin, Registered
from harness.types import EvalContext, Example, Prediction, Query
from harness_plugins.errors import SPECS
from harness_plugins.errors.spelling import correct

QUESTION = "Why is the capital city of France so large?"


def create(name: str, **options):
    spec = next(spec for spec in SPECS if spec.name == name)
    return Registered("error classifier", spec, Origin("t", "t", "0")).create(options)


SPELLING, LANGUAGE = create("spelling"), create("language")


def evidence(
    classifier,
    text: str,
    reference="Paris",
    finish="stop",
    question=QUESTION,
    vocabulary=frozenset(),
    labels=(),
) -> str:
    """The evidence, or "" when nothing is found."""
    context = EvalContext("generate", labels=labels, input=question, vocabulary=vocabulary)
    found = classifier.classify(
        Prediction("1", question, text, text, finish, 1, 1), Example(Query("1", {}), (reference,)), context
    )
    assert len(found) <= 1 and all(0 < len(label.evidence) <= 250 for label in found)
    return found[0].evidence if found else ""


@pytest.mark.parametrize(
    ("text", "reference", "found"),
    [
        ("The goverment sits there.", "Paris", "'goverment' for 'government'"),
        ("It is a beautifull city with many peple.", "Paris", "'peple' for 'people'"),
        ("mediteranean climate", "Mediterranean", "'mediteranean' for 'mediterranean'"),
        ("Constantinopel", "Constantinople", "'Constantinopel' for 'constantinople'"),
    ],
)
def test_misspelt_words_are_found_with_the_right_one(text: str, reference: str, found: str) -> None:
    assert found in evidence(SPELLING, text, reference)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("", "Paris"),
        ("The colour and organisation of the labour programme, analysed in metres.", "Paris"),
        ("Ouagadougou and Antananarivo are not where Xiomara lives.", "Paris"),
        ("It's the people's choice, isn't it?", "Paris"),
        ("unhelpfulness and overcrowding", "Paris"),
        ("See www.exampel.com, mail a@exmaple.com or run my_funtion(x1).", "Paris"),
        ("Die Hauptstadt von Frankreich ist die schöne Stadt Paris", "London"),
        ("La capitale de la France est Paris, une grande ville", "London"),
        ("goverment", "goverment"),
        ("languages", "language"),
        ("1945", "1946"),
        ("xq zzv qqk wwj", "Paris"),
    ],
)
def test_what_is_no_mistake(text: str, reference: str) -> None:
    assert evidence(SPELLING, text, reference) == ""


def test_words_of_the_task_are_no_mistakes() -> None:
    text = "The peple of the town use it every day."
    assert evidence(SPELLING, text)
    assert not evidence(SPELLING, text, vocabulary=frozenset({"peple"}))
    assert not evidence(SPELLING, text, reference="the peple")
    assert not evidence(SPELLING, "They use numpi for it.", vocabulary=frozenset({"numpi"}))


def test_misspelt_words_of_the_question_are_mistakes_when_the_answer_copies_them() -> None:
    text = "The peple of the town use it every day."
    assert evidence(SPELLING, text, question="Who are the peple?")
    assert evidence(SPELLING, text, question="Who are the peple?", vocabulary=frozenset({"peple"}))
    assert evidence(SPELLING, '"Beautifull" is an English word.', question="How is 'beautifull' spelt?")
    assert not evidence(SPELLING, "The quokka met the axolotl.", question="Did the quokka meet the axolotl?")
    assert not evidence(SPELLING, "Boht of them.", question="Boht?")  # short words may be names or terms


@pytest.mark.parametrize(
    ("text", "reference", "found"),
    [
        ("That makes no sence to me.", "Paris", "'sence' for"),
        ("He sold drgs there.", "Paris", "'drgs' for 'drugs'"),
        ("Knights in full armes rode on.", "Paris", "'armes' for"),
        ("She has a strong charractar, they say.", "Paris", "'charractar' for 'character'"),
        ("It is the plurael form of it.", "plural", "'plurael' for 'plural'"),
        ("The chatbot reads a JSON dataset with its birthdate.", "Paris", ""),
        ("A defence of the offences, in pretence.", "Paris", ""),
        ("the boxes, watches and potatoes he washes", "Paris", ""),
        ("the immunoassay of methotrexate in chondrocytes", "Paris", ""),
    ],
)
def test_words_far_from_the_right_one_and_words_that_are_right(text: str, reference: str, found: str) -> None:
    said = evidence(SPELLING, text, reference)
    assert found in said if found else not said


def test_half_a_word_at_the_cut_is_no_mistake() -> None:
    text = "The people of the country chose their goverment"
    assert evidence(SPELLING, text) and not evidence(SPELLING, text, finish="length")
    assert not evidence(SPELLING, text, finish="choice")


def test_thresholds_are_settings() -> None:
    assert not evidence(create("spelling", words=2), "The goverment sits there.")
    assert not evidence(create("spelling", frequency=10**9), "The goverment sits there.")
    assert evidence(create("spelling", language="de"), "Die Stadt ist sehr wichtg.", "Berlin")


def test_correct_mends_only_what_is_wrong() -> None:
    wrong = "The goverment, of Xiomara's peple,\n is  here."
    assert correct(wrong, "en", "", frozenset()) == "The government, of Xiomara's people,\n is  here."
    assert correct(wrong, "en", "goverment", frozenset({"peple"})) == wrong
    assert correct("they chose their goverment", "en", "", frozenset(), cut=True) == "they chose their goverment"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("La capitale de la France est une très grande ville.", "fr"),
        ("Die Hauptstadt ist sehr groß, weil dort viele Menschen wohnen.", "de"),
        ("La ciudad es muy grande porque hay mucha gente.", "es"),
        ("因为这个城市有很多人口和工作", "zh"),
        ("Потому что там живёт много людей", "ru"),
    ],
)
def test_another_language_is_found(text: str, language: str) -> None:
    assert evidence(LANGUAGE, text).startswith(f"{language} (")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Because many people live and work there.",
        "because of trade",
        "Juan Carlos de Borbón y Felipe González",
        "Spanish, Portuguese, Italian, Quechua, Aymara",
        "12 345 678 km²",
        "🙂🙂🙂🙂🙂🙂",
        "Paris",
    ],
)
def test_the_same_language_or_too_little_to_tell(text: str) -> None:
    assert evidence(LANGUAGE, text) == ""


def test_what_is_asked_for_in_another_language_is_right() -> None:
    german = "Die Stadt ist sehr groß, weil dort viele Menschen wohnen."
    assert evidence(LANGUAGE, german, reference=german) == ""
    assert evidence(LANGUAGE, german, question="Warum ist die Hauptstadt von Frankreich so groß?") == ""
    english = "Because many people live and work there every day."
    assert evidence(LANGUAGE, english, question="Warum ist die Hauptstadt von Frankreich so groß?").startswith("en")
    assert evidence(create("language", language="de"), german) == ""
    assert evidence(LANGUAGE, german, labels=("a", "b")) == ""


@pytest.mark.parametrize(
    ("text", "question", "language"),
    [
        ("Le chat est un animal.", "What is a cat?", "fr"),
        ("Das ist ein Tier.", "What is a cat?", "de"),
        ("El gato es de la casa.", "What is a cat?", "es"),
        ("The cat is an animal.", "Che cosa è un gatto?", "en"),
        ("Un gatto è nella casa.", "O que é um gato?", "it"),
        ("The cat is an animal.", "What is a cat? Answer in German.", "en"),
        ("The cat is an animal.", "Translate into French: Die Katze ist ein Tier.", "en"),
    ],
)
def test_a_few_function_words_tell_a_language(text: str, question: str, language: str) -> None:
    assert evidence(LANGUAGE, text, reference="Gatto", question=question).startswith(f"{language} (")


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("El Salvador.", "Which country is it?"),
        ("Museo Nacional del Prado", "Which museum is it?"),
        ("Der Spiegel", "Which paper is it?"),
        ("Die Katze ist ein Tier.", "What is a cat? Answer in German."),
        ("Le chat noir est un café.", "What is the French word for it?"),
        ("Che cosa è un gatto? The gatto!", "Che cosa è un gatto?"),  # for the most part the question itself
    ],
)
def test_names_questions_and_what_was_asked_for(text: str, question: str) -> None:
    assert evidence(LANGUAGE, text, reference="Gatto", question=question) == ""


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=200), st.text(max_size=40), st.sampled_from(["stop", "length", "choice"]))
def test_no_text_crashes(text: str, reference: str, finish: str) -> None:
    evidence(SPELLING, text, reference, finish, question=text[:20])
    evidence(LANGUAGE, text, reference, finish, question=reference)
    assert isinstance(correct(text, "en", reference, frozenset()), str)


@pytest.mark.parametrize(
    "text", ["y" * 100_000, "\x1b[31mrecieve " * 12_000, "عربي " * 20_000, "🙂" * 100_000, "\x00" * 9]
)
def test_long_and_odd_answers(text: str) -> None:
    for classifier in (SPELLING, LANGUAGE):
        evidence(classifier, text)


TYPED = "how meny days are in febuary normaly, in Brasl?"


@pytest.mark.parametrize(
    ("text", "question", "found"),
    [
        ("She is studing here.", QUESTION, "'studing' for 'studying'"),
        ("She rebaked the tyres.", QUESTION, ""),
        ("Meny days are there.", TYPED, "'Meny' for 'many'"),  # the input has two more
        ("Meny febuary:", TYPED, "'Meny' for 'many'"),  # strange words that the input has, too
        ("In Brasl it is warm.", TYPED, "'Brasl' for"),
        ("In Brasl it is warm.", "Where is Brasl?", ""),  # a name
        ("Theres no one.", QUESTION, "'Theres' for"),
        ("They dont know it.", "Why dont they know it?", "'dont' for \"don't\""),
        ("Maek paid the bill.", "Lena and Marek paid. How did Marek pay?", "'Maek' for 'marek'"),
        ("The squeild root is 12.", "What is the square root of 144?", "'squeild' for 'square'"),
        ("The origame of it is unknown.", "What is the origin of it?", "'origame' for 'origin'"),
        ("A squeild is 12.", "What is the square root of 144?", ""),
        ("Marek paid the bill.", "Lena and Marek paid. How did Marek pay?", ""),
        ("Emily Ratzkowa is tall.", "What is Emily Ratzkowa's job?", ""),
    ],
)
def test_words_of_the_input(text: str, question: str, found: str) -> None:
    said = evidence(SPELLING, text, "Ottawa", question=question)
    assert (found in said) if found else not said


@pytest.mark.parametrize(
    ("text", "question", "found"),
    [
        ("El país Kenya.", "Qual è la capitale del paese Kenya?", False),  # two words
        ("El país es Kenya y no otro.", "Qual è la capitale del paese Kenya?", True),
        ("The dog is barking at it.", "Quel animal aboie ?", True),
        ("The dog is barking at it.", "An welchem Fluss liegt Hamburg?", True),
        ("The dog is barking at it.", "Comment on this, will you?", False),
        ("A: A: B: C: D: E:", "Which of these is known?", False),
        ("B: It is none.\nC: It is none.\nD: It is none.", "Which of these is known?", False),
        ("It is a world in the Star Wars universe.", "wat is teh smalest contintent", False),
        ("It is a world in the Star Wars universe.", "Wat is het kleinste continent van de wereld?", True),
    ],
)
def test_few_words_and_single_letters_are_no_language(text: str, question: str, found: bool) -> None:
    assert bool(evidence(LANGUAGE, text, "Nairobi", question=question)) is found
