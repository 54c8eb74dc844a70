"""Feature classifier: logistic regression on the frozen model's hidden states; cheap, and often hard to beat."""

from __future__ import annotations

from harness.adaptation import Adaptation
from harness.strategy import Context, Strategy, TaskFacts
from harness.training.settings import ClassifierSettings


class FeatureClassifier(Strategy):
    """Reads the hidden states that the chain before it gives: after `lora` those of the tuned model."""

    class Config(ClassifierSettings):
        pass

    @property
    def seeded(self) -> bool:
        return False

    def check(self, facts: TaskFacts) -> list[str]:
        if facts.unseen_labels:
            named = ", ".join(f"'{label}'" for label in facts.unseen_labels[:5])
            return [f"cannot learn {len(facts.unseen_labels)} label(s) without a training example: {named}."]
        return []

    def adapt(self, start: Adaptation, context: Context) -> Adaptation:
        return context.fit_classifier(start, self.config)
