"""Dense retrieval: cosine similarity of sentence embeddings, searched exactly."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from harness.types import Document
from harness_plugins.embedding import MODEL, PACKAGED, encode, load_encoder


class Dense:
    """Exact search: an approximate index would mix its own misses into the comparison."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        model: str = Field(PACKAGED, description=MODEL)
        batch_size: int = Field(64, ge=1, description="Texts per batch of the encoder.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def build(self, documents: Sequence[Document]) -> None:
        self.encoder = load_encoder(self.config.model, "retriever 'dense'")
        texts = [f"{document.title}\n{document.text}" for document in documents]
        self.vectors = encode(self.encoder, texts, self.config.batch_size)

    def search(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        import numpy as np

        scores = encode(self.encoder, queries, self.config.batch_size) @ self.vectors.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[(int(p), float(row[p])) for p in ranks] for row, ranks in zip(scores, best, strict=True)]
