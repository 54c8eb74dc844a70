"""Retrieval-augmented generation: the best passages of the corpus go into the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.adaptation import Adaptation
from harness.rendering import fill
from harness.strategy import Context, PromptStrategy, RenderView, TaskFacts
from harness.types import Draft, Query


class Rag(PromptStrategy):
    """Searches with the task's input, best passage first, each as `passage` says."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        retriever: str | dict[str, Any] = Field("bm25", description="Retriever's name, or { use = …, settings }.")
        k: int = Field(3, ge=1, description="Passages per question.")
        passage: str = Field("{title}: {text}", description="One passage, over {title}, {text} and {rank}.")
        context: str = Field("Context:\n{passages}", description="The block of passages.")
        max_words: int = Field(120, ge=1, description="Longer passages are cut after this many words.")

        @field_validator("context")
        @classmethod
        def _holds_passages(cls, value: str) -> str:
            if "{passages}" not in value:
                raise ValueError("must contain {passages}")
            return value

    @property
    def retriever(self) -> dict[str, Any]:
        chosen = self.config.retriever
        return {"use": chosen} if isinstance(chosen, str) else dict(chosen)

    def plugins(self) -> list[tuple[str, dict[str, Any]]]:
        return [("retriever", self.retriever)]

    def check(self, facts: TaskFacts) -> list[str]:
        return [] if facts.corpus else ["needs documents to retrieve from, but the task has no corpus."]

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        context.search(self.retriever, [], 1)  # builds the index now, so that its cost is booked under "prepare"
        return super().adapt(start, context)

    def render(self, draft: Draft, query: Query, view: RenderView, state: Mapping[str, Any]) -> Draft:
        passages = tuple(view.search(self.retriever, self.config.k))
        lines = []
        for passage in passages:
            text = " ".join(passage.text.split()[: self.config.max_words])
            lines.append(fill(self.config.passage, {"title": passage.title, "text": text, "rank": str(passage.rank)}))
        block = fill(self.config.context, {"passages": "\n".join(lines)}) if lines else ""
        return replace(draft, context=block, passages=(*draft.passages, *passages))
