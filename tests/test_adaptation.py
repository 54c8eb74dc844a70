"""Adaptations are data: equal content has one digest, wherever it lies, and survives a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.adaptation import Adaptation, Delta, ModelState, Readout, Step, digest_of

START = Adaptation(ModelState("base"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=5), values, max_size=3), st.text(max_size=5))
def test_a_file_gives_back_what_was_saved(tmp_path_factory, settings: dict[str, object], text: str) -> None:  # type: ignore[no-untyped-def]
    made = START.with_step(Step("prompt", settings, {"seed": 1})).with_delta(Delta("peft", "d1", text, settings))
    path: Path = tmp_path_factory.mktemp("a") / "adaptation.json"
    made.save(path)
    assert Adaptation.load(path) == made and Adaptation.load(path).digest == made.digest


def test_the_digest_is_about_content() -> None:
    delta = Delta("peft", "d1", "here/lora", {"r": 4})
    made = START.with_delta(delta)
    assert made.digest == START.with_delta(replace(delta, path="there/lora")).digest
    others = [
        START,
        START.with_delta(replace(delta, digest="d2")),
        START.with_delta(delta).with_delta(delta),
        made.with_readout(Readout("choose")),
        made.with_step(Step("rag", {"k": 1})),
        made.with_step(Step("rag", {"k": 2})),
        Adaptation(ModelState("other base")).with_delta(delta),
    ]
    assert len({made.digest, *(other.digest for other in others)}) == len(others) + 1


def test_order_of_keys_does_not_matter() -> None:
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})


def test_strategies_return_copies() -> None:
    START.with_step(Step("prompt"))
    assert START.prompt == ()
