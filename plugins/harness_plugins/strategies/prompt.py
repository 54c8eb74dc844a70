"""Prompt engineering: an instruction, a system prompt, a template and worked examples ("shots")."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.strategy import PromptStrategy, RenderView, TaskFacts
from harness.types import Draft, Example, Query, Shot


class Prompt(PromptStrategy):
    """Adds what is set and leaves the rest of the draft alone, so that it can stand anywhere in a chain."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        system: str | None = Field(None, description="System prompt; default: the chat template's own.")
        instruction: str | None = Field(None, description="Replaces the task's instruction.")
        template: str | None = Field(None, description="User turn over {instruction}, {context} and {input}.")
        k: int = Field(0, ge=0, description="Number of worked examples.")
        select: Literal["fixed", "random", "similar"] = Field(
            "fixed", description="Shots: the same for all, drawn per question, or the most similar by BM25."
        )

    @property
    def seeded(self) -> bool:
        return self.config.k > 0 and self.config.select != "similar"

    def check(self, facts: TaskFacts) -> list[str]:
        problems = []
        if self.config.k >= facts.train and self.config.k > 0:
            problems.append(
                f"k = {self.config.k} shots need more than {self.config.k} training examples; there are {facts.train}."
            )
        template = self.config.template
        if template is not None and "{input}" not in template:
            problems.append("template must contain {input}.")
        return problems

    def render(self, draft: Draft, query: Query, view: RenderView, state: Mapping[str, Any]) -> Draft:
        config = self.config
        changes: dict[str, Any] = {}
        if config.system is not None:
            changes["system"] = config.system
        if config.instruction is not None:
            changes["instruction"] = config.instruction
        if config.template is not None:
            changes["template"] = config.template
        if config.k:
            shots = [
                Shot(view.input(example.query), example.references[0], example.id)
                for example in self._choose(query, view, state.get("seed", 0))
            ]
            changes["shots"] = (*draft.shots, *shots)
        return replace(draft, **changes)

    def _choose(self, query: Query, view: RenderView, seed: int) -> Sequence[Example]:
        if self.config.select == "similar":
            # The most similar last: next to the question it weighs most.
            return list(reversed(view.similar_examples(self.config.k)))
        examples = view.examples()
        salt = f"{seed}" if self.config.select == "fixed" else f"{seed}/{query.id}"
        return _spread(examples, self.config.k, salt)


def _spread(examples: Sequence[Example], k: int, salt: str) -> list[Example]:
    """k examples in random order whose answers differ as long as possible: each label is shown before one repeats.

    Each example's place is drawn from its own id, so leaving one out does not move the others.
    """
    chosen: list[Example] = []
    rest = sorted(examples, key=lambda example: hashlib.sha256(f"{salt}/{example.id}".encode()).digest())
    while rest and len(chosen) < k:
        seen: set[str] = set()
        later = []
        for example in rest:
            if len(chosen) < k and example.references[0] not in seen:
                seen.add(example.references[0])
                chosen.append(example)
            else:
                later.append(example)
        rest = later
    return chosen
