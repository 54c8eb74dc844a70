"""Hidden states as features, and the linear classifier that reads an answer from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from harness.exceptions import ModelError
from harness.models.batching import plan_batches
from harness.models.engine_model import OpenModel, prefix_cache
from harness.models.variant import Variant

TOKEN_BUDGET = 2048  # positions of one forward
MAX_ROWS = 64
FILE = "classifier.safetensors"

Features = NDArray[np.float32]
Pooling = Literal["mean", "last"]


def hidden_features(
    variant: Variant,
    prompts: Sequence[tuple[int, ...]],
    *,
    pooling: Pooling = "mean",
    layer: int = -1,
    on_batch: Callable[[int], None] | None = None,
) -> Features:
    """One row per prompt [prompts, hidden size]: the mean over its tokens' hidden states, or the last token's. Root
    rows are attended and not averaged. `layer` counts as in transformers' `hidden_states`: 0 the embeddings, -1 the
    last. `on_batch(count)` follows each batch of so many prompts."""
    opened = OpenModel(variant)
    layers = opened.model.config.get_text_config().num_hidden_layers
    if not -layers - 1 <= layer <= layers:
        raise ModelError(f"layer = {layer} does not fit a model of {layers} layers.", hint=f"Choose -1 to {layers}.")
    if not all(prompts):
        raise ModelError("an empty prompt has no hidden states.")
    rows: list[Any] = [None] * len(prompts)
    with opened.running():
        for batch in plan_batches([opened.shift + len(prompt) for prompt in prompts], TOKEN_BUDGET, MAX_ROWS):
            states = _states(opened, [prompts[index] for index in batch], layer)
            for row, index in enumerate(batch):
                own = states[row, : len(prompts[index])].float()
                rows[index] = (own[-1] if pooling == "last" else own.mean(dim=0)).cpu().numpy()
            if on_batch is not None:
                on_batch(len(batch))
    return np.stack(rows) if rows else np.zeros((0, opened.embedding.weight.shape[1]), np.float32)


def _states(opened: OpenModel, prompts: Sequence[tuple[int, ...]], layer: int) -> torch.Tensor:
    """Hidden states [rows, longest, hidden] of prompts padded on the right: what follows a token changes nothing."""
    width = max(map(len, prompts))
    ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts], device=opened.device)
    embeds = opened.embedding(ids)
    cache, before, drop = None, 0, 0
    if opened.root is not None:
        embeds, drop = torch.cat([opened.root.expand(len(ids), -1, -1), embeds], dim=1), opened.shift
    if opened.prefix is not None:
        cache, before = prefix_cache(opened.prefix, len(ids)), opened.shift
    positions = torch.arange(before, before + embeds.shape[1], device=opened.device)[None].expand(len(ids), -1)
    output = opened.model(
        inputs_embeds=embeds,
        position_ids=positions,
        past_key_values=cache,
        use_cache=cache is not None,
        output_hidden_states=True,
        logits_to_keep=1,
    )
    states: torch.Tensor = output.hidden_states[layer]
    return states[:, drop:]


@dataclass(frozen=True)
class LinearClassifier:
    """Log-probabilities of labels are log softmax(features weight' + bias). `weight` [labels, hidden], `bias`
    [labels], float64."""

    labels: tuple[str, ...]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def log_probabilities(self, features: Features) -> NDArray[np.float64]:
        """[n, labels] for features [n, hidden]."""
        logits = features @ self.weight.T + self.bias
        top = logits.max(axis=1, keepdims=True)
        return np.asarray(logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True)))

    def save(self, folder: Path) -> None:
        """Writes tensors only; the labels belong to the readout's settings."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({"weight": self.weight, "bias": self.bias}, folder / FILE)

    @classmethod
    def load(cls, folder: Path, labels: Sequence[str]) -> LinearClassifier:
        try:
            with safe_open(folder / FILE, framework="np") as file:
                return cls(tuple(labels), file.get_tensor("weight"), file.get_tensor("bias"))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"the classifier in {folder} cannot be read: {error}") from error
