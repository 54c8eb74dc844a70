"""Limits with three states. Only "violated" - shown by an interval - excludes an arm; "unknown" is said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis.intervals import t_quantile, wilson
from harness.analysis.result import ArmCost, LimitCheck
from harness.analysis.rows import TrialRows

Measured = tuple[float | None, float | None, float | None]  # value, low, high; a missing bound is not known
ALIASES = {
    "cost_per_1k_usd": "usd_per_1k_requests",
    "cost_per_1k": "usd_per_1k_requests",
    "memory_bytes": "peak_memory_bytes",
}


def quantile_band(values: Sequence[float], quantile: float, level: float = 0.95) -> Measured:
    """A latency quantile with its interval.

    The lower end, which can exclude an arm, is the distribution-free order statistic (Conover 1999, Practical
    Nonparametric Statistics, 3.2). The upper end, which can only call a limit met, is the order statistic too or, with
    too few values for one (fewer than 72 for p95), the lognormal tolerance bound (Hahn & Meeker 1991, 4.4).
    """
    from scipy import special

    data = np.sort(np.array([value for value in values if value is not None and math.isfinite(value)], dtype=float))
    count = len(data)
    if not count:
        return None, None, None
    tail = (1 - level) / 2
    below = special.bdtr(np.arange(count + 1), count, quantile)  # P(at most k values below the quantile)
    # X_(r) > quantile when at most r-1 values lie below it.
    lower_ranks = [r for r in range(1, count + 1) if below[r - 1] <= tail]
    upper_ranks = [r for r in range(1, count + 1) if below[r - 1] >= 1 - tail]
    value = float(np.percentile(data, 100 * quantile))
    low = float(data[lower_ranks[-1] - 1]) if lower_ranks else 0.0
    if upper_ranks:
        return value, low, float(data[upper_ranks[0] - 1])
    if count < 5 or data[0] <= 0:
        return value, low, None
    logs = np.log(data)
    shift = t_quantile(quantile, math.inf) * math.sqrt(count)
    factor = float(special.nctdtrit(count - 1, shift, 1 - tail)) / math.sqrt(count)
    return value, low, max(math.exp(float(logs.mean()) + factor * float(logs.std(ddof=1))), value)


def observed(limit: str, trials: Sequence[TrialRows], cost: ArmCost, items: int) -> tuple[Measured, str]:
    """The quantity that a limit bounds, with its interval and a note; all None when this analysis does not know it."""
    limit = ALIASES.get(limit, limit)
    if limit in ("latency_p95_s", "latency_p50_s"):
        values = [value for trial in trials for value in trial.latencies_s]
        return quantile_band(values, 0.95 if "95" in limit else 0.5), f"{len(values)} timed requests"
    if limit == "usd_per_1k_requests":
        return (cost.usd_per_1k_requests, cost.usd_per_1k_low, cost.usd_per_1k_high), _partly(limit, cost)
    if limit in ("usd_per_month", "usd_over_horizon", "one_off_usd", "train_usd", "prepare_usd", "train_wall_s"):
        value = getattr(cost, limit)
        return (value, value, None if limit in cost.lower_bounds else value), _partly(limit, cost)
    if limit in ("peak_memory_bytes", "artifact_bytes"):
        value = getattr(cost, limit)
        rows = [entry for trial in trials for entry in trial.ledger if entry.quantity == limit]
        if any(entry.basis == "sampled" for entry in rows):
            return (value, value, None), "sampled: the true peak may be higher"
        return (value, value, value), ""
    if limit == "refusal":
        found = [category for trial in trials for category in trial.categories.values()]
        if not found:
            return (None, None, None), "no answer was classified"
        share = sum(category == "refusal" for category in found) / len(found)
        return (share, *wilson(share, min(len(found), max(items, 1)))), ""
    return (None, None, None), "not measured"


def _partly(limit: str, cost: ArmCost) -> str:
    return "a part of this cost is unknown" if limit in cost.lower_bounds else ""


def check_limit(arm: str, limit: str, maximum: float, measured: Measured, note: str = "") -> LimitCheck:
    """Violated when the whole interval is above the maximum, met when it is not above it anywhere, else unknown."""
    value, low, high = measured
    state = "unknown"
    if low is not None and low > maximum:
        state = "violated"
    elif high is not None and high <= maximum:
        state = "met"
    return LimitCheck(arm, limit, maximum, state, value, low, high, note)


def check_limits(
    limits: Mapping[str, float],
    trials: Mapping[str, Sequence[TrialRows]],
    costs: Mapping[str, ArmCost],
    measured: Mapping[str, Mapping[str, Measured]],
    items: int,
) -> tuple[LimitCheck, ...]:
    """Every limit on every arm that has finished trials."""
    checks = []
    for arm, rows in trials.items():
        for limit, maximum in limits.items():
            given = measured.get(arm, {}).get(limit)
            value, note = (given, "") if given is not None else observed(limit, rows, costs[arm], items)
            checks.append(check_limit(arm, limit, maximum, value, note))
    return tuple(checks)
