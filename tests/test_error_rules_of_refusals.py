"""Phrases by which an answer declines, and such that only look like it."""

from __future__ import annotations

import pytest

from harness.types import EvalContext
from tests.test_error_rules import labels


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I am not familiar.", True),
        ("You cannot answer this question.", True),
        ("No information available.", True),
        ("The year of his return is not specified.", True),
        ("The answer is not available in the text.", True),
        ("I'm sorry for any confusion, but as a chatbot designed to assist with animals, I don't", True),
        ("Le point, je ne sais pas.", True),
        ("It is not explicitly mentioned.", True),
        ("The Bible does not provide a clear answer to this.", True),
        ("If you are not able to provide an address, use the form.", False),
        ("Its sex can not be determined by its heart rate.", False),
        ("Its sex can not be determined.", True),
        ("I'm not sure I'd recommend it.", False),
        ("Use a method that is not available elsewhere.", False),
        ("He is not known for his humour.", False),
        ("The museum is not mentioned in older guides.", False),
        ("You cannot answer the phone while driving.", False),
    ],
)
def test_phrases_of_declining(text, refuses):
    assert ("refusal" in labels(text, "Paris")) is refuses


def test_words_of_declining_that_the_input_has_are_given_back_with_it():
    context = EvalContext("generate", labels=("apology", "reminder"), input="I cannot help you with that.")
    assert "refusal" not in labels("I cannot help you with that.", "apology", context=context, prompt="Kind?")
    assert "refusal" in labels("I cannot provide that.", "apology", context=context, prompt="Kind?")
