"""From an engine's answer to the record that is stored and scored."""

from __future__ import annotations

from harness.models.engine import Answer
from harness.types import Draft, Prediction, Query


def prediction(query: Query, draft: Draft, prompt: str, answer: Answer) -> Prediction:
    """The record of one answer; the parsed text is the raw one without surrounding space."""
    return Prediction(
        item_id=query.id,
        prompt=prompt,
        raw=answer.text,
        parsed=answer.text.strip(),
        finish=answer.finish,  # type: ignore[arg-type]
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
        passages=draft.passages,
        label_scores=answer.scores,
    )
