"""What most metrics share: an answer of ours that failed is unknown, never zero; the aggregate is a mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from harness.types import EvalContext, Example, Prediction, Record


class NotComputable(Exception):
    """Raised inside a metric: this item has no value, for the reason given."""


def require_answer(prediction: Prediction) -> str:
    """The text to judge. A prediction that the harness itself failed to make is not an answer."""
    if prediction.finish == "error":
        raise NotComputable(f"no answer: {prediction.error or 'the harness failed on this item'}")
    return prediction.parsed


def require_references(example: Example) -> tuple[str, ...]:
    if not example.references:
        raise NotComputable("the item has no reference")
    return example.references


def require_measured(context: EvalContext) -> Mapping[str, Any]:
    """What was measured on the model for this item."""
    if not context.measured:
        raise NotComputable(context.unmeasured or "nothing was measured for this item")
    return context.measured


class MeanMetric:
    """A metric whose record is {"value": x} and whose aggregate is the mean over the known values."""

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        """The item's value; raises NotComputable with the reason where there is none."""
        raise NotImplementedError

    def record(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        try:
            require_answer(prediction)
            return {"value": self.value(prediction, example, context)}
        except NotComputable as error:
            return {"value": None, "reason": str(error)}

    def aggregate(self, records: Sequence[Record]) -> float | None:
        values = [record["value"] for record in records if record.get("value") is not None]
        return math.fsum(values) / len(values) if values else None


class FactMetric:
    """A metric that is no mean of items: its record holds facts, its aggregate is computed from all of them.

    A record with a "reason" holds no facts and is left out.
    """

    def facts(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        """The item's facts; raises NotComputable with the reason where there are none."""
        raise NotImplementedError

    def compute(self, records: Sequence[Record]) -> float | None:
        """The metric over one or more records with facts."""
        raise NotImplementedError

    def record(self, prediction: Prediction, example: Example, context: EvalContext) -> Record:
        try:
            require_answer(prediction)
            return self.facts(prediction, example, context)
        except NotComputable as error:
            return {"reason": str(error)}

    def aggregate(self, records: Sequence[Record]) -> float | None:
        known = [record for record in records if "reason" not in record]
        return self.compute(known) if known else None
