from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from harness import ErrorLabel


class Brevity:
    def record(self, prediction, example, context):
        if prediction.finish == "error":
            return {"value": None, "reason": "no answer"}
        longest = max(len(reference) for reference in example.references)
        return {"value": min(1.0, longest / max(1, len(prediction.parsed)))}

    def aggregate(self, records):
        known = [record["value"] for record in records if record["value"] is not None]
        return sum(known) / len(known) if known else None


class Longwinded:
    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        times: float = Field(2.0, gt=1, description="Longwinded: this many times the longest reference.")

    def __init__(self, config):
        self.config = config

    def classify(self, prediction, example, context):
        limit = self.config.times * max(len(reference) for reference in example.references)
        if len(prediction.parsed) <= limit:
            return []
        return [ErrorLabel("longwinded", f"{len(prediction.parsed)} letters, {limit:.0f} allowed")]
