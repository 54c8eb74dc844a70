"""What the analysis returns and every report prints: one `Comparison`. `to_json` is the form of `--format json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; `low`/`high` are None where none can be given, and `note` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class PairedChange:
    """Arm minus baseline on the same items. `p_adjusted` is corrected over the arms of the run."""

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    note: str = ""
    n: int = 0  # items that both have
    better: int | None = None  # items on which the arm scores higher than the baseline
    worse: int | None = None
    effect_size: float | None = None  # Cohen's d_z
    seed_share: float | None = None  # part of the variance that seeds contribute, 0..1; None with one seed
    method: str = ""


@dataclass(frozen=True)
class ArmCost:
    """Costs of one arm. None is unknown; a field named in `lower_bounds` has an unknown part and prints as "≥"."""

    tokens_in_per_request: float | None = None
    tokens_out_per_request: float | None = None
    usd_per_1k_requests: float | None = None
    train_usd: float | None = None
    prepare_usd: float | None = None
    usd_per_month: float | None = None
    usd_over_horizon: float | None = None
    train_wall_s: float | None = None
    prepare_wall_s: float | None = None
    predict_wall_s: float | None = None
    trained_tokens: float | None = None
    trainable_parameters: float | None = None
    artifact_bytes: float | None = None
    peak_memory_bytes: float | None = None
    lower_bounds: tuple[str, ...] = ()
    search_usd: float | None = None
    one_off_usd: float | None = None  # prepare + train + search: what a deployment pays once, and at every refresh
    usd_per_1k_low: float | None = None  # 95 % band of usd_per_1k_requests, from the spread of tokens per request
    usd_per_1k_high: float | None = None
    usd_of_errors_per_1k: float | None = None  # what wrong answers cost, when usd_per_error is given
    seconds_per_1k_requests: float | None = None
    flops_per_request: float | None = None  # operations of the textbook, without credit for shared prompts
    train_flops: float | None = None
    energy_wh_per_1k_requests: float | None = None
    train_energy_wh: float | None = None
    energy_estimated: bool = False  # from processor seconds, not from a counter
    cpu_s_per_1k_requests: float | None = None
    gpu_s_per_1k_requests: float | None = None


@dataclass(frozen=True)
class BreakEven:
    """Two arms by cost: below `requests_per_month` `below` is the cheaper one, above it `above`. `low`/`high`: band
    from the spread of tokens per request; None where it is open."""

    below: str
    above: str
    requests_per_month: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class LimitCheck:
    """One limit on one arm. `state`: "met", "violated" or "unknown", by the interval of the observed value."""

    arm: str
    limit: str
    maximum: float
    state: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Search:
    """An arm's sweep: candidates that were tried and that failed, the chosen settings, and the scores of `metric` on
    `n` validation examples over the candidates that have one. The best of several is an optimistic figure."""

    candidates: int
    failed: int
    settings: Mapping[str, Any]
    metric: str
    n: int
    chosen: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class ArmResult:
    """One row of the comparison. `errors` counts primary categories over items (first seed's trial when several)."""

    name: str
    status: str
    n: int
    seeds: tuple[int, ...]
    coverage: float | None
    metrics: Mapping[str, Interval]
    change: PairedChange | None
    errors: Mapping[str, int]
    cost: ArmCost
    latency_s: Mapping[str, float | None]  # p50, p95
    retrieval_recall: Interval | None = None
    loss: tuple[float, float] | None = None  # training loss, first and last tenth
    seed_spread: tuple[float, float] | None = None  # lowest and highest primary score over seeds
    error: str | None = None
    notes: tuple[str, ...] = ()
    search: Search | None = None  # None: one candidate, as written


@dataclass(frozen=True)
class Verdict:
    """`outcome`: "win", "tie" or "insufficient". Every step that led to it stands in `reasons`."""

    outcome: str
    arm: str | None
    reasons: tuple[str, ...] = ()
    runner_up: str | None = None
    would_flip: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    tied: tuple[str, ...] = ()  # arms shown to be within the margin of the best
    leader: str | None = None  # best score among eligible arms, whatever the evidence
    items_needed: int | None = None  # items in all that would settle an open comparison, if a number can be given


@dataclass(frozen=True)
class BenchmarkComparison:
    """One metric of one benchmark over the arms that have it. `name`: a task, or a group of `tasks` tasks together.
    `changes`: arm minus baseline, paired by item; none where the metric is not a mean of items. `primary`: the first
    metric of a benchmark that the experiment file names."""

    name: str
    metric: str
    primary: bool
    tasks: int
    n: int
    shots: int
    higher_is_better: bool
    scores: Mapping[str, Interval]
    changes: Mapping[str, PairedChange]
    truncated: int = 0


@dataclass(frozen=True)
class CurvePoint:
    """The score of one trial on `size` training examples; unknown where it failed."""

    size: int
    score: Interval


@dataclass(frozen=True)
class CurveFit:
    """`power`: score = a - b * size**-c.  `log`: score = a + b * ln(size), and c is 0."""

    form: str
    a: float
    b: float
    c: float


@dataclass(frozen=True)
class LearningCurve:
    """Score against the number of training examples. `doubled` is the fit's estimate at `doubled_size`, twice the
    largest size; `gain` is how much higher that is than the fit at the largest size. `note` says why there is none."""

    arm: str
    metric: str
    points: tuple[CurvePoint, ...]
    fit: CurveFit | None = None
    doubled_size: int | None = None
    doubled: Interval | None = None
    gain: Interval | None = None
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    run: Mapping[str, Any]
    primary_metric: str
    baseline: str
    arms: tuple[ArmResult, ...]
    verdict: Verdict
    detectable_difference: float | None = None
    warnings: tuple[str, ...] = ()
    break_even: tuple[BreakEven, ...] = ()
    limits: tuple[LimitCheck, ...] = ()
    advice: tuple[str, ...] = ()  # what the data suggest doing next
    benchmarks: tuple[BenchmarkComparison, ...] = ()
    curves: tuple[LearningCurve, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
