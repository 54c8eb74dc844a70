"""One of the labels as answer, with options of the arm's own: so that an experiment can compare ways of choosing."""

from __future__ import annotations

from harness.adaptation import Adaptation, Readout
from harness.readout import Choose
from harness.strategy import Context, Strategy, TaskFacts


class ChooseLabel(Strategy):
    """Stands at the end of a chain; prompt and model stay as they are."""

    Config = Choose

    @property
    def seeded(self) -> bool:
        return False

    def check(self, facts: TaskFacts) -> list[str]:
        conflicts: list[str] = self.config.conflicts()
        return conflicts

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        return start.with_readout(Readout("choose", self.config.model_dump()))
