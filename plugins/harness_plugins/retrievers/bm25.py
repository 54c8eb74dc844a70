"""Lexical retrieval with BM25, through bm25s."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.types import Document


class Bm25:
    """BM25 (Robertson and Zaragoza, 2009; Lucene's variant) over title and text; ties go to the earlier document."""

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        k1: float = Field(1.5, gt=0, description="Saturation of repeated words.")
        b: float = Field(0.75, ge=0, le=1, description="Penalty for long documents.")
        stopwords: str = Field("en", description="Language of the stop words, or an empty text for none.")

    def __init__(self, config: Config) -> None:
        self.config = config
        self.size = 0

    def _tokens(self, texts: Sequence[str]) -> Any:
        import bm25s

        stopwords: Any = self.config.stopwords or []
        # bm25s' own pattern drops words of one character, such as the 5 of "room 5".
        return bm25s.tokenize(
            list(texts), stopwords=stopwords, token_pattern=r"(?u)\b\w+\b", show_progress=False, return_ids=False
        )

    def build(self, documents: Sequence[Document]) -> None:
        import bm25s

        self.size = len(documents)
        self.index = bm25s.BM25(k1=self.config.k1, b=self.config.b, method="lucene")
        self.index.index(self._tokens([f"{d.title}\n{d.text}" for d in documents]), show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> list[list[tuple[int, float]]]:
        import numpy as np

        found = []
        for tokens in self._tokens(queries):
            # bm25s' own top-k leaves the order of ties open; a stable sort makes results repeatable.
            scores = self.index.get_scores(tokens) if tokens else np.zeros(self.size)
            best = np.argsort(-scores, kind="stable")[: min(k, self.size)]
            found.append([(int(position), float(scores[position])) for position in best])
        return found
