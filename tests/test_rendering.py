"""Prompts: what is shown, and that no example is ever shown its own answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.adaptation import Adaptation, ModelState, Step
from harness.exceptions import LeakError
from harness.hookspecs import StrategySpec
from harness.plugins import Origin, Registered, Registry
from harness.rendering import Indexes, Renderer, fill, template_fields
from harness.strategy import PromptStrategy, RenderView
from harness.types import Document, Draft, Example, Query, Shot

TRAIN = tuple(
    Example(Query(f"q{n}", {"question": f"What is the colour of thing {n}?"}, group=f"g{n % 5}"), (f"colour-{n}",))
    for n in range(20)
)
CORPUS = tuple(
    Document(f"d{n}", f"Thing {n} has the colour-{n}.", f"thing {n}", examples=("q3",) if n == 3 else ())
    for n in range(20)
)
START = Adaptation(ModelState("base"))


class Cheat(PromptStrategy):
    """Shows every question its own answer, by one of three ways."""

    def render(self, draft: Draft, query: Query, view: RenderView, state: Mapping[str, Any]) -> Draft:
        own = next(example for example in TRAIN if example.id == query.id)
        name = own.id if state["how"] == "id" else "another"
        return replace(draft, shots=(Shot(view.input(own.query), own.references[0], name),))


def renderer(registry: Registry, exclusions: Mapping[str, frozenset[str]]) -> Renderer:
    spec = StrategySpec("cheat", "", f"{__name__}:Cheat")
    registry = Registry(registry.origins, [*registry.entries, Registered("strategy", spec, Origin("t", "tests", "1"))])
    return Renderer(
        registry,
        input_template="Q: {question}",
        instruction="Answer. Labels: {labels}",
        train=TRAIN,
        exclusions=exclusions,
        indexes=Indexes(registry, CORPUS),
        labels=("a", "b"),
    )


OWN = {example.id: frozenset({example.id}) for example in TRAIN}


@pytest.mark.parametrize("how", ["id", "text"])
def test_a_planted_leak_is_caught(registry: Registry, how: str) -> None:
    cheat = START.with_step(Step("cheat", state={"how": how}))
    with pytest.raises(LeakError, match="would show the answer of 'q3'"):
        renderer(registry, OWN).draft(cheat, TRAIN[3].query)


@pytest.mark.parametrize("select", ["fixed", "random", "similar"])
def test_shots_leave_out_the_example_its_duplicates_and_its_group(registry: Registry, select: str) -> None:
    group = {e.id: frozenset(o.id for o in TRAIN if o.query.group == e.query.group) for e in TRAIN}
    few = START.with_step(Step("prompt", {"k": 15, "select": select}, {"seed": 1}))
    own = renderer(registry, group)
    for example in TRAIN:
        draft = own.draft(few, example.query)
        assert len(draft.shots) == 15
        assert not {shot.example_id for shot in draft.shots} & group[example.id]
        text = "".join(message.content for message in own.messages(draft))
        assert example.references[0] + "\n" not in text + "\n"


def test_fixed_shots_are_the_same_for_all_who_may_see_them(registry: Registry) -> None:
    few = START.with_step(Step("prompt", {"k": 4}, {"seed": 7}))
    own = renderer(registry, OWN)
    fresh = own.draft(few, Query("new", {"question": "?"})).shots
    for example in TRAIN:
        shown = own.draft(few, example.query).shots
        kept = [shot for shot in fresh if shot.example_id != example.id]
        assert list(shown)[: len(kept)] == kept


def test_retrieval_skips_documents_that_state_the_examples_own_pair(registry: Registry) -> None:
    rag = START.with_step(Step("rag", {"k": 3}))
    own = renderer(registry, OWN)
    seen = own.draft(rag, TRAIN[3].query).passages
    assert "d3" not in {passage.document_id for passage in seen} and len(seen) == 3
    other = own.draft(rag, Query("test", TRAIN[3].query.fields)).passages
    assert other[0].document_id == "d3" and other[0].rank == 1


def test_messages_hold_instruction_shots_context_and_input_in_order(registry: Registry) -> None:
    both = START.with_step(Step("prompt", {"k": 1, "system": "Be brief."}, {"seed": 0})).with_step(
        Step("rag", {"k": 1, "passage": "{text}", "context": "Facts:\n{passages}"})
    )
    own = renderer(registry, {})
    messages = own.messages(own.draft(both, Query("new", {"question": "the colour of thing 5?"})))
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[-1].content == (
        "Answer. Labels: a, b\n\nFacts:\nThing 5 has the colour-5.\n\nQ: the colour of thing 5?"
    )
    assert messages[1].content.startswith("Answer. Labels: a, b\n\nQ: ")


def test_values_are_never_templates() -> None:
    assert fill("{a}{{b}}", {"a": "{b}", "b": "x"}) == "{b}{b}"
    assert template_fields("{a} {{c}} {b}") == ["a", "b"]


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text(), min_size=2, max_size=2))
def test_fill_keeps_every_value_whole(fields: dict[str, str]) -> None:
    assert fill("<{a}|{b}>", fields) == f"<{fields['a']}|{fields['b']}>"


def test_a_finished_draft_under_another_instruction(registry: Registry) -> None:
    made = renderer(registry, OWN)
    plain = made.draft(START, TRAIN[0].query)
    changed = made.with_instruction(plain, "Say {labels}: which?")
    assert changed is not None
    assert made.messages(changed)[-1].content == "Say a, b: which?\n\nQ: What is the colour of thing 0?"
    assert changed == replace(plain, instruction="Say a, b: which?")
    assert made.with_instruction(plain, "Answer. Labels: {labels}") is None  # no paraphrase
    assert made.with_instruction(replace(plain, instruction=""), "Which?") is None
    assert made.with_instruction(replace(plain, template="{input}"), "Which?") is None
