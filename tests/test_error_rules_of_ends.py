"""Rules for answers that were cut off, that give their input back, or that end in a word of the question."""

from __future__ import annotations

import pytest

from harness.types import EvalContext
from tests.test_error_rules import labels

BAG = "A bag costs 30 euros. What do 4 bags and a box of 20 euros cost?"


@pytest.mark.parametrize(
    ("text", "numeric"),
    [
        ("To solve this problem, we need to think of the bags. A bag costs 30 euros, the box 20 euros, and", False),
        ("We need to multiply 30 by 4, which is 110. So the bags and the box are", True),
        ("We need to multiply 30 by 4, which is 110. Now we need to add the price of", False),
        ("Let's see: 30 * 4 = 120. Then 120 + 20", False),
        ("A bag costs 30 euros, and what 4 bags and the box cost is a question of", False),
        ("4 bags cost 14", False),  # half of 140, perhaps
        ("4 bags cost 15", True),
        ("4 * 30 = 130", True),
    ],
)
def test_what_a_calculation_that_was_cut_off_comes_to(text, numeric):
    assert ("numeric" in labels(text, "140", context=EvalContext("generate", input=BAG), finish="length")) is numeric


@pytest.mark.parametrize(
    ("text", "reference", "question", "numeric"),
    [
        ("It was in 2015.", "A program won its first match in 2016.", "How many years ago did it win?", True),
        ("The pH is 4.", "The pH of vinegar is typically around 2.5.", "What is the pH of vinegar?", True),
        ("3000 kg", "4 tonnes is equivalent to 4000 kg.", "Convert 4 tonnes to kg.", True),
        ("18 months", "over three days", "How long could they stay?", True),
        (
            "There are 3 shelves with 8 jars each.",
            "24",
            "Three shelves hold 8 jars each. How many jars are there?",
            False,
        ),
        ("The three shelves hold jam.", "24", "Three shelves hold 8 jars each. How many jars are there?", False),
        ("On 30 July.", "3 September", "When does the shop open?", False),  # a date, of which the number is a part
        ("in 1999", "January 1982", "When was it cold?", False),
    ],
)
def test_which_references_are_one_number(text, reference, question, numeric):
    assert ("numeric" in labels(text, reference, context=EvalContext("generate", input=question))) is numeric


@pytest.mark.parametrize(
    ("text", "finish", "loop"),
    [
        ("It begins with the old mill, the old mi", "length", True),
        ("It begins with the old mill, the old mi", "stop", False),
        ("It begins with the old mill, the new mi", "length", False),
        ("12\n12", "length", True),
        ("2023: 2023\n2022: 2022\n2021: 2021", "stop", True),
        ("2 + 3 = 5\n4 + 6 = 10\n7 + 1 = 8", "stop", False),
        ("1\n2\n3\n4", "stop", False),
    ],
)
def test_ends_in_a_loop(text, finish, loop):
    assert ("repetitive" in labels(text, "Paris", finish=finish)) is loop


@pytest.mark.parametrize(
    ("prompt", "text", "reference", "copied"),
    [
        ("Make it a command.\nYou should wash your hands.", "You should wash your hands.", "Wash your hands.", True),
        ("Convert 4 metres to centimetres.", "4 meters in centimeters.", "400 cm", True),
        ("What is the past tense of 'sing'?", "The past tense of 'sing' is 'sung'.", "sang", False),
        ("What is the past tense of 'sing'?", "The past tense of 'sing' is 'sing'.", "sang", True),
        ("What is the capital of Brazil?", "The perfect answer is the capital of Brazil.", "Brasília", True),
        ("Where do most people eat beef at noon?", "Most people in Kenya eat beef at noon.", "Chile", False),
        ("Where do most people eat beef at noon?", "Where do most children eat beef at noon?", "Chile", True),
        (
            "Say it in fewer words.\nThe new computer in the office is far too slow for all of us.",
            "The computer in the office is a bit too slow.",
            "(fewer words)",
            False,
        ),
    ],
)
def test_what_is_copied_and_what_is_of_its_own(prompt, text, reference, copied):
    found = labels(text, reference, prompt=prompt)
    assert ("copied_prompt" in found) is copied
    assert not (copied and "correct" in found)


def test_the_beginning_of_the_line_that_asks_names_no_label():
    prompt = "Review: a dull film\nThe opinion in one word (positive or negative):"
    context = EvalContext("generate", ("positive", "negative"), "a dull film")
    for text, expected in [
        ("The opinion in one word (positive or", {"copied_prompt", "truncated", "wrong_answer"}),
        ("The opinion is positive", {"format", "truncated"}),
    ]:
        assert labels(text, "positive", context=context, prompt=prompt, finish="length") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"name": "Ana Paz", "city": "Féz"}', {"correct"}),
        ('{"name": "Fez", "city": "Ana Paz"}', {"partially_correct"}),
        ('["Ana Paz", "Fez"]', {"format"}),
    ],
)
def test_values_of_json_under_their_own_keys(text, expected):
    assert labels(text, '{"name": "Ana Paz", "city": "Fez"}') == expected


def test_numbers_of_a_list_in_one_line_hide_no_repetition():
    towns = "Rome, 2. Oslo, 3. Bonn, 4. Lima, 5. Rome, 6. Oslo, 7. Bonn, 8. Lima"
    assert "repetitive" in labels(towns, "Paris")
    assert "repetitive" not in labels("Rome, 2. Oslo, 3. Bonn, 4. Lima, 5. Kyiv, 6. Riga, 7. Bern, 8. Bari", "Paris")


@pytest.mark.parametrize(
    ("text", "category"),
    [('{"a": 1, "b": "x"}', "correct"), ('{"a": 1, "b": "x",}', "format"), ('{"a": 1, "b": "x"', "format")],
)
def test_a_text_that_is_no_json_is_not_right_where_json_was_wanted(text, category):
    assert category in labels(text, '{"a": 1, "b": "x"}')


def test_lines_of_nothing_but_letters_of_a_list_are_a_loop():
    assert "repetitive" in labels("A:\nB:\nC:\nD:\nE:", "moss", finish="length")
    assert "repetitive" not in labels("A: moss\nB: fern\nC: oak\nD: elm", "moss", finish="length")


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("They are: bread, cheese, butter, cheese, bread, butter, cheese", True),
        ("They are: bread, cheese, butter, jam, honey, salt, cheese", False),
        ("Lima, and on the way to the sea, Cusco, Lima, Puno, Lima, Cusco, Lima", False),  # a sentence
        ("three-masted, three-masted, three", True),
    ],
)
def test_items_of_a_list_in_one_line_that_come_again(text, loop):
    assert ("repetitive" in labels(text, "Paris", finish="length")) is loop
