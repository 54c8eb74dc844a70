"""`Adaptation`: what the model sees, what the model is, how its answer is read — as immutable, serialisable data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """One text for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON-able value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


@dataclass(frozen=True)
class Step:
    """One step of rendering: which strategy renders, its settings, and what it fixed when it adapted (`state`)."""

    use: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Delta:
    """A change of the model's weights or root: a folder of safetensors under the artifacts folder.

    `kind`: "peft" (an adapter in peft's format), "soft_prompt" or "prefix" (peft's format, fed as the root) or
    "weights" (replaced tensors). `digest` covers the folder's tensors and configuration; `path` is where they lie.
    """

    kind: str
    digest: str
    path: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelState:
    """The base model's digest and the ordered deltas on top of it."""

    base: str
    deltas: tuple[Delta, ...] = ()


@dataclass(frozen=True)
class Readout:
    """How an answer is read: `kind` "generate" (text), "choose" (one of the labels) or "classify" (a linear classifier
    on hidden states, whose tensors lie in the folder `path` under the artifacts folder), with settings. Those of
    "choose": the options of `harness.readout.Choose`, and "prior" once they are calibrated; empty: the task's options
    hold. `steps` are what happens to its text afterwards, in order."""

    kind: str = "generate"
    settings: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Adaptation:
    """One answer to "how should this model be adapted?". Strategies return a changed copy; nothing mutates it."""

    model: ModelState
    prompt: tuple[Step, ...] = ()
    readout: Readout = field(default_factory=Readout)

    def with_step(self, step: Step) -> Adaptation:
        return replace(self, prompt=(*self.prompt, step))

    def with_delta(self, delta: Delta) -> Adaptation:
        return replace(self, model=replace(self.model, deltas=(*self.model.deltas, delta)))

    def with_readout(self, readout: Readout) -> Adaptation:
        """What happens to the answer afterwards stays, unless the new readout brings its own."""
        return replace(self, readout=replace(readout, steps=readout.steps or self.readout.steps))

    def with_answer_step(self, step: Step) -> Adaptation:
        return replace(self, readout=replace(self.readout, steps=(*self.readout.steps, step)))

    @property
    def digest(self) -> str:
        """Depends on content only: where the folders of deltas and readout lie does not matter."""
        data = asdict(self)
        del data["readout"]["path"]
        for delta in data["model"]["deltas"]:
            del delta["path"]
        return digest_of(data)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Adaptation:
        model = data["model"]
        return cls(
            model=ModelState(base=model["base"], deltas=tuple(Delta(**delta) for delta in model["deltas"])),
            prompt=tuple(Step(**step) for step in data["prompt"]),
            readout=Readout(
                **{**data["readout"], "steps": tuple(Step(**step) for step in data["readout"].get("steps", ()))}
            ),
        )

    def save(self, path: Path) -> None:
        """Writes the JSON form; the file appears whole or not at all."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(self.to_json(), indent=2, sort_keys=True), encoding="utf-8")
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Adaptation:
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
