"""Several comparisons at once: Holm's adjustment, and lower bounds that hold together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from harness.analysis.arrays import FloatArray
from harness.analysis.intervals import t_quantile

# One-sided level of the bounds of one arm against all others, together. Half of 5 %, because the arm under test is
# the one that came out best: with two equal arms either may (see harness.analysis.verdict).
ONE_SIDED = 0.025
DRAWS = 40_000


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment (Holm 1979, Scand. J. Stat. 6:65); None is no test and stays None."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = highest
    return adjusted


@lru_cache(maxsize=8)
def _draws(count: int) -> FloatArray:
    """Standard normals from a fixed seed, [count, DRAWS]."""
    return np.random.default_rng(0).standard_normal((count, DRAWS))


def joint_level(correlation: FloatArray, level: float = ONE_SIDED) -> float:
    """The level for each of several one-sided tests at which one or more fails with probability `level`.

    The single-step max-T (min-P) of Westfall & Young (1993), with a Gaussian joint distribution of the given
    correlation (Hothorn, Bretz & Westfall 2008, Biom. J. 50:346). Working on the scale of p-values lets every
    comparison keep its own degrees of freedom. Simulated from a fixed seed; never below Bonferroni's level.
    """
    count = len(correlation)
    if count <= 1:
        return level
    from scipy import special

    eigenvalues, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(eigenvalues, 0, None))
    highest = float(np.quantile((root @ _draws(count)).max(axis=0), 1 - level))
    return float(min(max(special.ndtr(-highest), level / count), level))


def correlation_of(deviations: FloatArray, extra: FloatArray | None = None) -> FloatArray:
    """Correlation of the columns of `deviations` (about 0, not centred again), plus an `extra` covariance."""
    covariance = deviations.T @ deviations + (0 if extra is None else extra)
    scale = np.sqrt(np.diag(covariance))
    scale = np.where(scale > 0, scale, 1.0)
    result = covariance / np.outer(scale, scale)
    np.fill_diagonal(result, 1.0)
    return np.asarray(result)


def simultaneous_lower(
    centres: FloatArray, errors: FloatArray, degrees: FloatArray, correlation: FloatArray, level: float = ONE_SIDED
) -> tuple[FloatArray, float]:
    """Lower bounds that hold together with confidence 1 - level, and the level used for each.

    A comparison without error (identical predictions) is exact: its bound is its value, and it costs nothing.
    """
    open_ones = np.flatnonzero(errors > 0)
    each = joint_level(correlation[np.ix_(open_ones, open_ones)], level) if len(open_ones) else level
    quantiles = np.array([t_quantile(1 - each, float(df)) for df in degrees])
    return np.where(errors > 0, centres - quantiles * errors, centres), each
