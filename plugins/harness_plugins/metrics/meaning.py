"""Similarity of meaning, by sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from harness.types import EvalContext, Example, Prediction
from harness_plugins.embedding import MODEL, PACKAGED, embedder
from harness_plugins.metrics.base import MeanMetric, require_references
from harness_plugins.metrics.text import plain


class EmbeddingSimilarity(MeanMetric):
    """Cosine of the sentence embeddings of answer and reference (Reimers and Gurevych, 2019, Sentence-BERT), the best
    over the references, with negative values as 0. Texts are embedded as they stand, by the packaged all-MiniLM-L6-v2
    (which reads the first 256 tokens) unless `model` says otherwise. An empty answer is 0, and 1 where a reference is
    empty too: the mean over the words of no words is the zero vector, which is similar to nothing. (What the model
    itself gives for an empty text is the embedding of its start and end marks; its cosine with the quickstart's
    references is 0.18 on average, as that of another question's gold answer is, and up to 0.48.) It knows topics, not
    facts: "warm" and "cold" are at 0.76, "1945" and "1946" at 0.80. Read differences between arms, not the height."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        model: str = Field(PACKAGED, description=MODEL)
        batch_size: int = Field(64, ge=1, description="Texts per batch of the encoder.")

    def __init__(self, config: Config) -> None:
        self.embedder = embedder(config.model, config.batch_size, "metric 'embedding_similarity'")

    def prepare(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> None:
        answered = [prediction.parsed for prediction in predictions if prediction.finish != "error"]
        references = [reference for example in examples for reference in example.references]
        self.embedder.prepare(text for text in (*references, *answered) if plain(text))

    def value(self, prediction: Prediction, example: Example, context: EvalContext) -> float:
        return max(self._similarity(prediction.parsed, reference) for reference in require_references(example))

    def _similarity(self, text: str, reference: str) -> float:
        if not plain(text) or not plain(reference):
            return float(not plain(text) and not plain(reference))
        # Rounded: the last digits of an embedding depend on the texts beside it in the batch.
        return round(min(1.0, max(0.0, self.embedder.similarity(text, reference))), 6)
