"""The rules of the surface classifier one by one: made-up answers on which each must fire, and on which it must not."""

from __future__ import annotations

import pytest

from harness.plugins import Origin, Registered
from harness.types import EvalContext, Example, Prediction, Query
from harness_plugins.errors import SPECS

FREE = EvalContext(readout="generate", input="What is the capital of France?")
SURFACE = Registered("error classifier", SPECS[0], Origin("t", "t", "0")).create({})


def labels(text: str, *references: str, context=FREE, finish="stop", prompt="") -> set[str]:
    if prompt and context is FREE:
        context = EvalContext(readout="generate", input=prompt.rpartition("\n")[2])
    made = Prediction("1", prompt, text, text, finish, 9, 9)
    return {label.category for label in SURFACE.classify(made, Example(Query("1", {}), references), context)}


REWRITE = "Rewrite the sentence in the past tense.\nThe dog is chasing a ball."
SHOTS = "Q: What colour is snow?\nA: Snow is white, of course.\nQ: What do cows eat?\nA:"
OPTIONS = "Where do we sleep?\n(A) in the kitchen sink\n(B) in the bed upstairs\n(C) on a very old roof\nWhich letter?"


@pytest.mark.parametrize(
    ("prompt", "text", "reference", "copied"),
    [
        (REWRITE, "The dog is chasing a ball.", "The dog was chasing a ball.", True),
        (REWRITE, "the Dog is chásing a ball", "The dog was chasing a ball.", True),
        (REWRITE, "A dog was chasing balls.", "The dog was chasing a ball.", False),
        (REWRITE, "The dog is chasing a", "The dog was chasing a ball.", True),
        (SHOTS, "Snow is white, of course.", "grass", True),
        (SHOTS, "white, of course", "grass", False),
        (OPTIONS, "(A) in the kitchen sink", "B", False),
        (OPTIONS, "on a very old roof", "B", False),
        ("", "The dog is chasing a ball.", "The dog was chasing a ball.", False),
    ],
)
def test_short_copies_are_whole_sentences_of_the_prompt(prompt, text, reference, copied):
    assert ("copied_prompt" in labels(text, reference, prompt=prompt)) is copied


MEND = "Correct the mistakes.\nThe old libary opens on monday mornings."
MENDED = "The old library opens on Monday mornings."


@pytest.mark.parametrize(
    ("prompt", "text", "reference", "copied"),
    [
        (MEND, "The old libarry opens on monday mornings.", MENDED, True),
        (MEND, "Here it is: The old libaryy opens on monday mornings.", MENDED, True),
        (MEND, "The old library opens on Monday morning.", MENDED, False),  # nearer to what was wanted
        ("Which town is the capital of Peru?", "The capital town of Peru is Cusco.", "Lima", False),
        (
            "The river that flows through Vienna is ...",
            "The river that flows through Vienna is Rhine.",
            "Danube",
            False,
        ),
    ],
)
def test_sentences_with_little_changed_are_copies(prompt, text, reference, copied):
    assert ("copied_prompt" in labels(text, reference, prompt=prompt)) is copied


JSON = '{"name": "Ada", "age": 36}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"age": 36, "name": "Ada"}', "correct"),
        ('{"name": "Ada", "age": 36, "city": "London"}', "format"),
        ('{"person": {"name": "Ada", "age": "36"}}', "format"),
        ("Ada is 36 years old.", "format"),
        ('{"name": "Ada", "age": 35}', ""),
        ("[" * 5000, ""),
    ],
)
def test_right_values_in_other_json_are_out_of_form(text, expected):
    assert labels(text, JSON) & {"correct", "format"} == ({expected} if expected else set())


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
        ("Answer in at most three words.", "It is Paris.", "Paris", {"correct"}),
        ("Answer in at most three words.", "The capital is Paris.", "Paris", {"format"}),
        ("Answer in a few words.", "The capital of France is Paris.", "Paris", {"correct"}),
        ("Answer in a few words.", "The capital of the old land of France is Paris.", "Paris", {"format"}),
        ("Answer without a full sentence.", "The capital of France is Paris.", "Paris", {"format"}),
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
        ('He called it "home"', True),
        ('He called it "home."', False),
        ("So, 20 *", True),
        ("It is **home.**", False),
    ],
)
def test_ends_that_are_none(text, cut):
    assert ("truncated" in labels(text, "Paris", finish="length")) is cut


ITEM = "What is the former name of Mali?"
DEPOT = "Where is the old railroad depot of Bonn located?"
PASSAGE = (
    "The tower was built by the sons of a rich merchant in 1654. It is the oldest house of the town."
    "\n\nWhat is the tower?"
)


@pytest.mark.parametrize(
    ("prompt", "text", "reference", "copied"),
    [
        (ITEM, "The former name of Mali is Mali.", "French Sudan", True),
        (ITEM, "The former name of Mali is Sudan.", "French Sudan", False),
        (DEPOT, "The old railroad depot of Bonn is located", "downtown", True),
        ("Is the depot of Bonn old?", "The depot of Bonn is old.", "no", False),  # an answer: yes
        ("Is the depot of Bonn old?", "Is the depot of Bonn old", "no", True),
        (PASSAGE, "the oldest house of the town", "a prison", False),  # a wrong piece of the passage
        (PASSAGE, "The tower was built by the sons of a rich merchant in 1654.", "a prison", True),
        (PASSAGE, "The tower was built by the daughters of poor fishermen.", "a prison", False),
        (MEND, "The answer is: The answer is:", MENDED, False),
        (MEND, "The old library opens on monday mornings.", MENDED, False),  # some of what was asked
        (OPTIONS, "We sleep on a very old roof", "B", False),
    ],
)
def test_restated_questions_and_pieces_of_passages(prompt, text, reference, copied):
    assert ("copied_prompt" in labels(text, reference, prompt=prompt)) is copied


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("Sport: diver, diver, diver", True),
        ("no, no, no", False),
        ("1. Red\n2. Blue\n3. Green\n4. Red\n5. Blue\n6. Green\n7. Black\n8. Grey", True),
        ("The answer is: 1.\nThe answer is: 2.", True),
        ("1. Red\n2. Blue\n3. Green\n4. Black\n5. Grey\n6. Red", False),
        ("A la Europa, a la Europa.", True),
        ("To the east is the sea, and the town of Brest is to the west.", False),
        ("close_details_details_details_details_details", True),
        ("The house of my uncle is old. The garden of my aunt is new and has a lot of trees.", False),
    ],
)
def test_what_could_be_struck_out(text, loop):
    assert ("repetitive" in labels(text, "Paris")) is loop


@pytest.mark.parametrize(
    ("text", "reference", "question", "expected"),
    [
        ("It is Buddhism.", "Buddhist", "Which religion?", {"correct"}),
        ("It opens on Mondays.", "Monday", "On which day?", {"correct"}),
        ("The leaf", "leaves", "What is the plural of leaf?", {"wrong_answer"}),
        ("It is Turkmenistan.", "Turkmen", "Which people?", {"wrong_answer"}),
        ("There are 2 eggs, so the answer is 3.", "2", "How many are needed?", {"numeric", "wrong_answer"}),
        (
            "The 4 eggs and 2 cups are in the old kitchen.",
            "2",
            "She has 4 eggs in 2 cups. How many in each?",
            {"wrong_answer"},
        ),
    ],
)
def test_whether_the_right_answer_is_there(text, reference, question, expected):
    assert labels(text, reference, context=EvalContext("generate", input=question)) == expected


@pytest.mark.parametrize(
    ("text", "reference", "question", "numeric"),
    [
        ("1. Rome", "3", "How many?", False),
        ("It stood there in the 12th year.", "3", "How many?", False),
        ("3 kilometres in metres.", "3000 m", "How much are 3 kilometres in metres?", False),
        ("A triangle of 3 cm and 4 cm is 3 cm.", "5 cm", "How long is the side of a triangle of 3 cm and 4 cm?", True),
        ("19.", "10", "He has 19 balls. How many are red?", True),
        ("Dos", "Tres", "¿Cuántos?", True),
        ("On October 22, in the town", "1949", "When was it?", False),
        ("It was on October 22, 1950", "1949", "When was it?", True),
        ("10\n11\n12\n13\n14\n15\n16", "13", "How many?", True),
        ("It costs 12 euros.", "5 euros", "Tickets cost 12 or 5 euros. What does mine cost?", True),
    ],
)
def test_numbers_that_answer_nothing(text, reference, question, numeric):
    assert ("numeric" in labels(text, reference, context=EvalContext("generate", input=question))) is numeric


def test_an_apology_alone_is_no_refusal():
    assert "refusal" not in labels("I'm sorry for the confusion, but I can help you with that.", "Paris")
    assert "refusal" not in labels("I'm sorry, but I'll answer: Rome.", "Paris")
    assert "refusal" in labels("I'm sorry, but I can't help.", "Paris")
    assert "refusal" in labels("It is not possible for me to answer.", "Paris")


def test_partly_right_is_what_an_answer_says_beyond_the_question():
    context = EvalContext("generate", input="What is the capital of Peru?")
    reference = "The capital of Peru is the old town of Lima."
    assert "partially_correct" not in labels("The capital of Peru is Cuzco.", reference, context=context)
    assert "partially_correct" in labels("The old town Lima, south", reference, context=context)
