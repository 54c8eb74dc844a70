"""What goes into the store and comes out of it, beyond `harness.types`; and how values become columns."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

RunStatus = Literal["running", "done", "failed", "interrupted"]
TrialStatus = Literal["pending", "running", "done", "failed"]


@dataclass(frozen=True)
class NewRun:
    """What is known when a run begins. `key` is a digest of the resolved experiment and its fingerprints.

    `score_versions` is `{"metrics": {name: version}, "classifiers": {name: version}}`: the scores that belong to this
    run when several versions were computed; classifiers in the order of their claim to the primary category.
    """

    key: str
    name: str
    task_fingerprint: str
    baseline: str
    primary_metric: str
    arms: Sequence[str]
    config_written: str = ""
    config_resolved: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)
    score_versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunRow:
    """One stored run. Times are UTC in ISO 8601; `analysis` is what `finish_run` was given, or None."""

    id: str
    key: str
    name: str
    status: RunStatus
    created_at: str
    finished_at: str | None
    task_fingerprint: str
    baseline: str
    primary_metric: str
    arms: tuple[str, ...]
    config_written: str
    config_resolved: Mapping[str, Any]
    versions: Mapping[str, Any]
    machine: Mapping[str, Any]
    model: Mapping[str, Any]
    task: Mapping[str, Any]
    score_versions: Mapping[str, Mapping[str, str]]
    analysis: Mapping[str, Any] | None


@dataclass(frozen=True)
class NewTrial:
    """What identifies a trial before it starts. `arm` is a label only: another run may call the trial otherwise."""

    prediction_key: str
    adaptation_key: str
    arm: str
    seed: int
    chain: Sequence[Any] = ()
    dtype: str | None = None


@dataclass(frozen=True)
class TrialRow:
    """One stored trial. `adaptation` is the JSON form of `harness.adaptation.Adaptation`, or None before it exists."""

    id: int
    prediction_key: str
    adaptation_key: str
    arm: str
    seed: int
    chain: tuple[Any, ...]
    status: TrialStatus
    error: str | None
    error_detail: str | None
    started_at: str | None
    finished_at: str | None
    adaptation: Mapping[str, Any] | None
    dtype: str | None
    prediction_digest: str | None
    notes: tuple[str, ...]
    model_key: str | None = None  # equal keys: the same adapted model; benchmarks are kept under it


@dataclass(frozen=True)
class Artifact:
    """A file or folder that an adaptation left. `path` is relative to the artifacts folder, so results can be moved."""

    kind: str
    path: str
    bytes: int | None = None
    digest: str | None = None


def clean_text(value: str) -> str:
    """The text as it can be stored: a model may produce half of a surrogate pair, which UTF-8 cannot express."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def number(value: Any) -> float | None:
    """A finite float, or None for everything that is not a number: unknown is NULL, never NaN."""
    if value is None or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def to_json(value: Any) -> str:
    """JSON text of a value; numbers that are not finite become null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
    return clean_text(text)


def from_json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _plain(value: Any) -> Any:
    """JSON form of what the json module does not know: mapping views, tuples in disguise, NumPy scalars, paths."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Sequence):
        return list(value)
    if hasattr(value, "item"):
        return _finite(value.item())
    return str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return value
