"""What the analysis reads: plain rows of one run, as `harness.store` hands them over or a test writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.types import LedgerEntry, Record


@dataclass(frozen=True)
class MetricInfo:
    """A metric as the analysis needs it. `mean`: the aggregate is the mean of each record's "value". `from_answers`:
    equal answers have equal records; not so for what was measured on the model."""

    name: str
    aggregate: Callable[[Sequence[Record]], float | None]
    higher_is_better: bool = True
    mean: bool = True
    low: float | None = 0.0
    high: float | None = 1.0
    from_answers: bool = True


@dataclass(frozen=True)
class Prices:
    """Money, in US dollars. None means that the user gave no price: unknown, not free."""

    usd_per_hour: float | None = None
    usd_per_1k_input_tokens: float | None = None
    usd_per_1k_output_tokens: float | None = None
    usd_per_1k_cached_tokens: float | None = None
    usd_per_1k_train_tokens: float | None = None
    usd_hosting_per_month: float | None = None
    usd_per_error: float | None = None


@dataclass(frozen=True)
class Decision:
    """What the user decides under. `limits`: upper bounds such as latency_p95_s, cost_per_1k_usd, memory_bytes,
    forgetting."""

    monthly_requests: float | None = None
    horizon_months: float = 12
    refreshes_per_month: float = 0
    margin: float = 0.02
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkRows:
    """One metric of one benchmark task on one trial's model; fields as in `harness.types.BenchmarkResult`. Equal
    `model_key`s: the same model, so the same values."""

    task: str
    group: str
    metric: str
    value: float | None
    items: Mapping[str, float | None]
    model_key: str
    higher_is_better: bool = True
    mean: bool = True
    primary: bool = False
    shots: int = 0
    truncated: int = 0


@dataclass(frozen=True)
class TrialRows:
    """Everything one trial left behind.

    `records[metric][item]` is the per-item record; `categories[item]` the primary error category ("correct" for none);
    items that our own failure cost are absent from both and counted in `errors`. `tokens[item]` = (in, out).
    """

    arm: str
    seed: int
    status: str  # "done", "failed", "pending"
    records: Mapping[str, Mapping[str, Record]] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)
    tokens: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    latencies_s: Sequence[float] = ()
    ledger: Sequence[LedgerEntry] = ()
    error: str | None = None
    errors: int = 0
    prediction_digest: str | None = None
    retrieval_hits: Mapping[str, bool] = field(default_factory=dict)  # item -> a gold document was among the passages
    losses: Sequence[tuple[int, float]] = ()  # (step, training loss)
    benchmarks: Sequence[BenchmarkRows] = ()


@dataclass(frozen=True)
class CandidateRows:
    """One candidate of an arm's sweep: `value` of `metric` over `n` validation examples, None where it failed."""

    settings: Mapping[str, Any]
    metric: str
    value: float | None
    n: int
    chosen: bool
    costs: Sequence[LedgerEntry] = ()
    error: str | None = None


@dataclass(frozen=True)
class CurveRows:
    """One point of an arm's learning curve: the trial on `size` training examples."""

    size: int
    trial: TrialRows


@dataclass(frozen=True)
class RunRows:
    """One run. `items` maps each test item, in order, to its group (None: no groups). Arms in the file's order."""

    run: Mapping[str, Any]
    arms: Sequence[str]
    baseline: str
    items: Mapping[str, str | None]
    metrics: Sequence[MetricInfo]
    primary_metric: str
    trials: Sequence[TrialRows]
    prices: Prices = field(default_factory=Prices)
    decision: Decision = field(default_factory=Decision)
    grouped: bool = False
    # arm -> limit -> (value, low, high) for limits measured elsewhere, such as "forgetting" on benchmarks
    measured: Mapping[str, Mapping[str, tuple[float | None, float | None, float | None]]] = field(default_factory=dict)
    search: Mapping[str, Sequence[CandidateRows]] = field(default_factory=dict)  # by arm, as they were tried
    curve: Sequence[CurveRows] = ()
    train: int | None = None  # training examples of the task
