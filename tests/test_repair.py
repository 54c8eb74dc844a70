"""The strategy `repair`: what it mends, what it leaves alone, and that it stands last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.adaptation import Adaptation, ModelState, Step
from harness.config import load_experiment
from harness.exceptions import ConfigError
from harness.plugins import Registry
from harness.types import Prediction
from harness_plugins.strategies.repair import Repair, learn_form

LOOP = "a river and a lake, a river and a lake, a river and a lake, a river"


@dataclass(frozen=True)
class View:
    labels: tuple[str, ...] = ()
    input: str = "What is the capital of France?"
    vocabulary: frozenset[str] = frozenset()


SHORT = ["Paris", "Lima", "New Delhi", "Porto-Novo", "Rome"]
LONG = ["The country exports copper, gold and fish to its neighbours, and imports machines.", "It is high and dry."]
NUMBERS = ["12", "3,400", "-7.5", "0"]
OBJECTS = ['{"a": 1}', "[1, 2]"]


def repaired(
    text: str, references: list[str] = SHORT, labels: tuple[str, ...] = (), finish: str = "stop", **options: bool
) -> str:
    strategy = Repair(Repair.Config(**options))
    made = Prediction("1", "the prompt", text, text, finish, 1, 1)  # type: ignore[arg-type]
    return strategy.read(made, View(labels), learn_form(references, labels))


@pytest.mark.parametrize(
    ("text", "references", "expected"),
    [
        ("Paris", SHORT, "Paris"),
        ("Paris.", SHORT, "Paris"),
        ('"Paris"', SHORT, "Paris"),
        ("The answer is Paris.", SHORT, "Paris"),
        ("Sure! The answer is: Paris", SHORT, "Paris"),
        ("Answer: Paris", SHORT, "Paris"),
        ("The correct answer to the question is Paris.", SHORT, "Paris"),
        ("The capital of France is Paris.", SHORT, "Paris"),
        ("The river that flows past is the Seine", SHORT, "The river that flows past is the Seine"),
        ("St. Petersburg", SHORT, "St. Petersburg"),
        ("U.S.", SHORT, "U.S."),
        ("Paris Paris Paris Paris Paris", SHORT, "Paris"),
        (LOOP, SHORT, "a river and a lake"),
        ("Rome. " + "It is a city that many people have visited for a very long time. " * 3, SHORT, "Rome"),
        ("It is high and dry.", LONG, "It is high and dry."),
        (LONG[0], LONG, LONG[0]),
        ("The goverment of the peple sits here.", LONG, "The government of the people sits here."),
        ("The total is 3,400 tons.", NUMBERS, "3,400"),
        ("The answer is 12, or 13.", NUMBERS, "12"),
        ("12 or 13", NUMBERS, "12 or 13"),
        ("none", NUMBERS, "none"),
        ('Here it is:\n```json\n{"b": 2}\n```\nDone', OBJECTS, '{"b": 2}'),
        ('The value is {"b": 2}.', OBJECTS, '{"b": 2}'),
        ("The value is {b}.", OBJECTS, "The value is {b}."),
        ("", SHORT, ""),
        ("The answer is", SHORT, "The answer is"),
    ],
)
def test_repairs(text: str, references: list[str], expected: str) -> None:
    assert repaired(text, references) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("refund", "refund"),
        ("Refund.", "refund"),
        ("The label is refund, I think", "refund"),
        ("billing or refund", "billing or refund"),
        ("shipping", "shipping"),
    ],
)
def test_labels_are_extracted(text: str, expected: str) -> None:
    assert repaired(text, ["refund"], ("refund", "billing")) == expected


def test_each_repair_can_be_switched_off() -> None:
    assert repaired("The answer is Paris.", format=False) == "The answer is Paris."
    assert repaired("Paris Paris Paris Paris Paris", repetition=False) == "Paris Paris Paris Paris Paris"
    assert repaired("the goverment", LONG, spelling=False) == "the goverment"
    long = "Rome it is, and " * 20
    assert len(repaired(long, verbosity=False, repetition=False)) > 200


def test_what_was_not_written_is_not_repaired() -> None:
    assert repaired("The answer is Paris.", finish="choice") == "The answer is Paris."
    assert repaired("", finish="overflow") == ""


@pytest.mark.parametrize("references", [SHORT, LONG, NUMBERS, OBJECTS])
def test_answers_of_the_wanted_form_are_left_alone(references: list[str]) -> None:
    assert [repaired(reference, references) for reference in references] == references


@settings(max_examples=150, deadline=None)
@given(
    st.text(max_size=120)
    | st.lists(st.sampled_from(["The", "answer", "is", "12", "a", "."]), max_size=40).map(" ".join),
    st.sampled_from([SHORT, LONG, NUMBERS, OBJECTS, []]),
    st.sampled_from(["stop", "length"]),
)
def test_any_text_is_repaired_to_a_text_and_never_to_nothing(text: str, references: list[str], finish: str) -> None:
    result = repaired(text, references, finish=finish)
    assert isinstance(result, str) and bool(result.strip()) == bool(text.strip())


@pytest.mark.parametrize(
    "text", ["word another thing " * 5500, "x" * 19_000, "\x1b[31m" * 3000, "عربي " * 3000, "{" * 9000]
)
def test_long_and_odd_answers(text: str) -> None:
    assert repaired(text)


def test_an_adaptation_keeps_its_answer_steps() -> None:
    start = Adaptation(ModelState("base"))
    after = start.with_answer_step(Step("repair", {"format": True}, {"kind": "text"}))
    assert Adaptation.from_json(after.to_json()) == after and after.digest != start.digest
    old = start.to_json()
    del old["readout"]["steps"]  # as stored before there were any
    assert Adaptation.from_json(old) == start


def test_repair_stands_last(write: Callable[[str, str], Path], registry: Registry) -> None:
    text = """
    [experiment]
    name = "demo"
    [task]
    loader = "jsonl"
    test = "test.jsonl"
    [[arm]]
    name = "zero"
    strategies = {strategies}
    """
    load_experiment(write("e.toml", text.format(strategies='["prompt", "repair"]')), registry)
    with pytest.raises(ConfigError, match="'prompt' comes after 'repair'"):
        load_experiment(write("e.toml", text.format(strategies='["repair", "prompt"]')), registry)
