"""Rules for which number an answer gives; of those that were cut off, see `test_error_rules_of_ends`, too."""

from __future__ import annotations

import pytest

from harness.types import EvalContext
from tests.test_error_rules import labels


@pytest.mark.parametrize(
    ("text", "reference", "question", "numeric"),
    [
        ("It is 343.13 metres.", "The speed is approximately 343 metres per second.", "What is the speed?", False),
        ("It is 500 metres.", "The speed is approximately 343 metres per second.", "What is the speed?", True),
        ("It is the sum of its 2 sides.", "The area is 0.5 * (a + b) * h.", "What is the formula?", False),
        ("The total distance run is 4 * 250 = 1100 metres.", "1000", "4 run 250 metres each. How many?", True),
        ("The other number is 18.", "13", "Two numbers make 31, one of them is 18. What is the other?", True),
        ("One of them is 18.", "13", "Two numbers make 31, one of them is 18. What is the other?", False),
    ],
)
def test_the_number_that_is_given(text, reference, question, numeric):
    assert ("numeric" in labels(text, reference, context=EvalContext("generate", input=question))) is numeric


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("The total distance run is 4 * 250 = 1000 metres.", True),
        ("Ann filled 1000 jars, which is 1000 x 2 = 2000 jars.", False),  # it comes to another number
        ("1000 x 2 = 2000, so that one of them is 1000.", True),
    ],
)
def test_what_a_calculation_comes_to(text, right):
    context = EvalContext("generate", input="How many are there?")
    found = labels(text, "1000", context=context)
    assert ("numeric" in found) is not right and (bool(found & {"correct", "format"}) is right)


@pytest.mark.parametrize(
    ("text", "reference", "question", "finish", "numeric"),
    [
        ("11.\n\nThe sum of the digits of", "15", "8 + 7 =", "length", True),  # no number of a list
        ("1. Add the numbers.", "15", "8 + 7 =", "stop", False),
        ("It is 4.548 billion years old.", "about 4.5 billion years", "How old is the Earth?", "stop", False),
        ("It is 6 billion years old.", "about 4.5 billion years", "How old is the Earth?", "stop", True),
        ("It is 4.548 km long.", "4.5 km", "How long is it?", "stop", True),
        ("Use the factor of 1000. So 250 centimetres is", "2.5 metres", "Convert 250 cm to metres.", "length", False),
    ],
)
def test_first_numbers_rough_ones_and_those_about_to_be_said(text, reference, question, finish, numeric):
    context = EvalContext("generate", input=question)
    assert ("numeric" in labels(text, reference, context=context, finish=finish)) is numeric


def test_a_number_of_another_sign_is_another_number():
    context = EvalContext("generate", input="What is 20 - 35?")
    assert labels("20 - 35 = 15.", "-15", context=context) & {"correct", "numeric"} == {"numeric"}
    assert "correct" in labels("20 - 35 = -15.", "-15", context=context)
    assert "correct" not in labels("15", "-15", context=context)


def test_an_exponent_is_no_answer():
    context = EvalContext("generate", input="What is the area of a circle with a radius of 4 meters?")
    assert "numeric" not in labels("The area of a circle is pi * r^2.", "50.27 square meters", context=context)
