"""A training on disk: one safetensors file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.adaptation import canonical_json
from harness.models.requests import TrainSequence
from harness.training.settings import TrainSettings
from harness.training.trainable import Trainable

VERSION = 2
#: Saving takes at most this share of the time.
SHARE = 0.05


def fingerprint(
    trainable: Trainable, data: Sequence[Sequence[TrainSequence]], settings: TrainSettings, seed: int
) -> str:
    """What a checkpoint must have in common with a training to be continued: everything that moves its weights."""
    shapes = {name: list(parameter.shape) for name, parameter in trainable.parameters.items()}
    # How often checkpoints are written does not move the weights.
    chosen = settings.model_dump(mode="json", exclude={"checkpoint_seconds"})
    stages = [dict(trainable.stages), trainable.unfreeze_over]
    facts = [VERSION, trainable.kind, str(trainable.compute_dtype), shapes, stages, chosen, seed]
    whole = hashlib.sha256(canonical_json(facts).encode())
    for part in data:
        whole.update(b"part")
        for sequence in part:
            whole.update(repr((sequence.prompt, sequence.target)).encode())
    return whole.hexdigest()


class Checkpoint:
    """`path` None: nothing is ever written or found."""

    def __init__(self, path: Path | None, key: str, seconds: float) -> None:
        self.path, self.key, self.seconds = path, key, seconds
        self.saved_at = time.monotonic()
        self.cost = 0.0

    def due(self) -> bool:
        wait = max(self.seconds, self.cost / SHARE) if self.seconds else 0.0
        return self.path is not None and time.monotonic() - self.saved_at >= wait

    def save(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """`progress`: JSON-able state of the loop. Random state of torch is added."""
        if self.path is None:
            return
        start = time.monotonic()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.part")
        kept = {**tensors, "random.cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            kept["random.cuda"] = torch.cuda.get_rng_state()
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}
        save_file(kept, part, metadata={"key": self.key, "progress": json.dumps(progress)})
        part.replace(self.path)
        self.saved_at = time.monotonic()
        self.cost = self.saved_at - start

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Tensors and progress of a checkpoint of this very training; torch's random state is set. None without."""
        if self.path is None or not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                notes = file.metadata() or {}
                if notes.get("key") != self.key:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError):
            return None  # unreadable: train from the start
        torch.set_rng_state(tensors.pop("random.cpu"))
        cuda = tensors.pop("random.cuda", None)
        if cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(cuda)
        return tensors, json.loads(notes["progress"])

    def remove(self) -> None:
        if self.path is not None:
            for path in (self.path, self.path.with_name(f"{self.path.name}.part")):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
