"""Rules for which number an answer gives, beside those of `test_error_rules_of_ends`."""

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
