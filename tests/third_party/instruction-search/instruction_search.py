"""Instruction search: random rewordings of the instruction, judged on validation examples; the best one stays."""

from __future__ import annotations

import random
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from harness import PromptStrategy, StrategySpec, TaskFacts, hookimpl

HARNESS_INTERFACE = 1

OPENINGS = ("", "Please read carefully.", "You are an expert.", "Think, then reply.")
ENDINGS = ("", "Answer in as few words as possible.", "Give the answer only.", "Do not explain.")


@hookimpl
def harness_strategies():
    summary = "Searches an instruction by random rewording, on validation examples."
    return [StrategySpec("instruction_search", summary, "instruction_search:InstructionSearch")]


class InstructionSearch(PromptStrategy):
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        tries: int = Field(4, ge=1, description="Rewordings that are tried.")
        examples: int = Field(8, ge=1, description="Most validation examples that each is judged on.")

    @property
    def seeded(self):
        return True

    def check(self, facts: TaskFacts):
        return [] if facts.validation else ["needs validation examples to judge instructions on."]

    def adapt(self, start, context):
        draw = random.Random(context.seed)
        chosen = context.validation[: self.config.examples]
        best, best_right = "", -1
        for number in range(self.config.tries):
            words = f"{draw.choice(OPENINGS)} {{instruction}} {draw.choice(ENDINGS)}".strip()
            candidate = start.with_step(context.step({"words": words}))
            answers = context.generate(candidate, [example.query for example in chosen])
            pairs = zip(chosen, answers, strict=True)
            right = sum(example.references[0].lower() in answer.lower() for example, answer in pairs)
            if right > best_right:
                best, best_right = words, right
            context.progress(number + 1, self.config.tries, f"{best_right} of {len(chosen)} right")
        return start.with_step(context.step({"words": best}))

    def render(self, draft, query, view, state):
        return replace(draft, instruction=state["words"].replace("{instruction}", draft.instruction).strip())
