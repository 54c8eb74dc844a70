"""What a test set can tell: the smallest difference that the verdict's own procedure finds, and items needed.

Before the run nothing is known about how arms differ, so planning assumes that two arms disagree on 30 % of items
(a paired standard deviation of sqrt(0.30) = 0.55 on a 0-to-1 metric; good arms that share a model and retrieved texts
disagree less, unlike ones more) and, with groups, an intra-class correlation of the differences of 0.1. After the run
the observed standard errors take the place of both.

A *win* must clear the margin, so the smallest difference that wins with 80 % power is
margin + (critical value + power quantile) x standard error. Both quantiles are for all comparisons of one arm with
the others together, all others being equally far behind (the least favourable case), correlated at 0.5 because the
comparisons share that arm (Dunnett 1955, JASA 50:1096).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from harness.analysis.intervals import t_quantile
from harness.analysis.multiplicity import ONE_SIDED

POWER = 0.80
PLANNED_DISAGREEMENT = 0.30
PLANNED_SD = math.sqrt(PLANNED_DISAGREEMENT)
PLANNED_CORRELATION = 0.1


@lru_cache(maxsize=256)
def joint_quantile(p: float, comparisons: int) -> float:
    """c with P(all of `comparisons` standard normals, pairwise correlated 0.5, are below c) = p."""
    from scipy import optimize, special

    if comparisons <= 1:
        return float(special.ndtri(p))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    weights = weights / weights.sum()

    def excess(c: float) -> float:
        return float((weights * special.ndtr(math.sqrt(2) * c - nodes) ** comparisons).sum()) - p

    return float(optimize.brentq(excess, -8, 12))


@lru_cache(maxsize=256)
def quantile_sum(arms: int, df: float = math.inf, power: float = POWER) -> float:
    """Critical value plus power quantile for one arm against all others, in standard errors."""
    from scipy import special

    comparisons = max(arms - 1, 1)
    each = float(special.ndtr(-joint_quantile(1 - ONE_SIDED, comparisons)))
    return t_quantile(1 - each, df) + joint_quantile(power, comparisons)


def design_effect(cluster_sizes: Sequence[int], correlation: float = PLANNED_CORRELATION) -> float:
    """How much groups inflate the variance of a mean: 1 + (m - 1) x ICC, with m = sum(n^2)/sum(n) for unequal groups
    (Kish 1965, Survey Sampling, 5.4; Donner, Birkett & Buck 1981, Am. J. Epidemiol. 114:906)."""
    total = sum(cluster_sizes)
    if not total:
        return 1.0
    return 1 + (sum(size**2 for size in cluster_sizes) / total - 1) * correlation


def planned_difference(
    items: int, arms: int, margin: float, cluster_sizes: Sequence[int] | None = None, span: float = 1.0
) -> float | None:
    """Before the run: the smallest true difference that wins with 80 % power. None with fewer than two units."""
    units = len(cluster_sizes) if cluster_sizes else items
    if items < 2 or units < 2 or arms < 2:
        return None
    effect = design_effect(cluster_sizes) if cluster_sizes else 1.0
    error = span * PLANNED_SD * math.sqrt(effect / items)
    return margin + quantile_sum(arms, float(units - 1)) * error


def items_for_margin(
    margin: float, arms: int, cluster_sizes: Sequence[int] | None = None, span: float = 1.0
) -> int | None:
    """Before the run: items with which arms of equal quality are shown to be within the margin of each other, and a
    lead of twice the margin wins, each with 80 % power. None for a margin of 0, which no number of items shows."""
    if margin <= 0:
        return None
    effect = design_effect(cluster_sizes) if cluster_sizes else 1.0
    return math.ceil(effect * (quantile_sum(max(arms, 2)) * PLANNED_SD * span / margin) ** 2)


def observed_difference(errors: Sequence[float], arms: int, margin: float, df: float) -> float | None:
    """After the run: the same with observed standard errors of the leader's comparisons (the largest of them, so
    that it holds for each)."""
    known = [error for error in errors if error > 0]
    return margin + quantile_sum(arms, df) * max(known) if known else None


def items_to_settle(lead: float, error: float, items: int, arms: int, margin: float) -> int | None:
    """Items in all with which a comparison like this one would be settled with 80 % power, should the observed lead
    be the true one: a win where it exceeds the margin, else shown to be within it. None: a lead right at the margin,
    which no realistic number settles."""
    distance = abs(abs(lead) - margin)
    if distance <= 1e-9 or error <= 0:
        return None
    needed = items * (quantile_sum(arms) * error / distance) ** 2
    return max(math.ceil(needed), items + 1) if needed < 1e7 else None
