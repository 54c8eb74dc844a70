"""Two arms on the same items: difference, interval, p-value, effect size, share of items and seeds.

The interval. For right/wrong items without groups and with one seed: Bonett & Price (2012), BJMSP 65:394, which adds
one item to each of the two discordant cells. Otherwise Student's t with the cluster-robust variance; its degrees of
freedom are those of the units that differ at all, because the others carry no information about the variance. In
simulation (25 to 400 items, single or in groups of 2 to 4, 4 to 100 % of items differing) they cover 93.9 to 97.5 %
wherever ten or more units differ, and more - never less - where fewer do.

The p-value. McNemar's exact test where Bonett & Price applies; with five seeds or more Student's t on the crossed
variance; else a sign-flip permutation of items or clusters (Fisher 1935; exhaustive up to 2**13 patterns).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from harness.analysis.arrays import Cells, FloatArray, IntArray, cluster_sums
from harness.analysis.intervals import (
    LEVEL,
    SEEDS_TO_CROSS,
    SPARSE,
    cross,
    is_binary,
    item_influences,
    seed_variance,
    t_quantile,
)
from harness.analysis.result import PairedChange

PERMUTATIONS = 9_999
EXHAUSTIVE = 13
FEWEST_DEGREES = 4.0


@dataclass(frozen=True)
class Difference:
    """First minus second. Bounds are centre -/+ quantile(df) x error; `deviations` ([items] or [resamples]) is the
    same error as contributions that add up in squares, for correlations between differences."""

    value: float
    centre: float
    error: float
    df: float
    n: int
    units: int
    deviations: FloatArray
    seed_variances: tuple[float, float] = (0.0, 0.0)
    better: int | None = None
    worse: int | None = None
    p: float | None = None
    effect_size: float | None = None
    seed_share: float | None = None
    method: str = ""

    def reversed(self) -> Difference:
        return replace(
            self,
            value=-self.value,
            centre=-self.centre,
            deviations=-self.deviations,
            seed_variances=self.seed_variances[::-1],
            better=self.worse,
            worse=self.better,
            effect_size=None if self.effect_size is None else -self.effect_size,
        )

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        half = t_quantile(0.5 + level / 2, self.df) * self.error if self.error > 0 else 0.0
        return self.centre - half, self.centre + half


def mcnemar_exact(better: int, worse: int) -> float:
    """McNemar's exact two-sided p-value (McNemar 1947): the discordant items against a fair coin."""
    from scipy import special

    if better + worse == 0:
        return 1.0
    return float(min(1.0, 2 * special.bdtr(min(better, worse), better + worse, 0.5)))


def sign_flip_p(sums: FloatArray, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Two-sided p-value of the sum of `sums` when the sign of each is a coin toss. Exhaustive when few are not 0."""
    active = sums[sums != 0]
    count = len(active)
    if count == 0:
        return 1.0
    observed = abs(float(active.sum())) * (1 - 1e-9) - 1e-15
    if count <= EXHAUSTIVE:
        bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((1.0 - 2.0 * bits) @ active) >= observed).mean())
    generator = np.random.default_rng(seed)
    packed = np.frombuffer(generator.bytes(permutations * ((count + 7) // 8)), dtype=np.uint8)
    coins = np.unpackbits(packed.reshape(permutations, -1), axis=1, count=count)
    flipped = active.sum() - 2.0 * (coins.astype(np.float32) @ active.astype(np.float32)).astype(np.float64)
    # float32 is exact enough for the draws; the slack keeps ties on the conservative side.
    slack = 1e-6 * float(np.abs(active).sum())
    return float((1 + (np.abs(flipped) >= observed - slack).sum()) / (permutations + 1))


def identical(items: int, units: int, length: int) -> Difference:
    """Equal predictions: the difference is 0 by construction, not by estimate."""
    return Difference(0.0, 0.0, 0.0, math.inf, items, units, np.zeros(length), p=1.0, method="identical predictions")


def paired_difference(
    first: Cells, second: Cells, codes: IntArray | None = None, span: float | None = 1.0, test: bool = True
) -> Difference | None:
    """First minus second over the items that both have; None without a common item. `span` is the metric's range;
    without `test` no p-value is computed."""
    common = first.seen & second.seen
    if not common.any():
        return None
    first, second = first.only(common), second.only(common)
    values = np.where(common, first.item_means() - second.item_means(), 0.0)
    influences = item_influences(first) - item_influences(second)
    deviations = cluster_sums(influences, codes, common)
    units, items = len(deviations), int(common.sum())
    value = float(first.seed_means().mean() - second.seed_means().mean())
    better, worse = int((values > 0).sum()), int((values < 0).sum())
    base = Difference(value, value, 0.0, math.inf, items, units, influences, better=better, worse=worse)
    base = replace(base, effect_size=effect_size(values[common]))
    single = len(first.values) == 1 and len(second.values) == 1
    if codes is None and single and is_binary(first) and is_binary(second):
        return _bonett_price(base, items, better, worse)
    sums = cluster_sums(values, codes, common)
    result = _robust(base, deviations, sums, (first, second), span)
    if test and result.p is None:
        result = replace(result, p=sign_flip_p(sums))
    return result


def _bonett_price(base: Difference, items: int, better: int, worse: int) -> Difference:
    centre = (better - worse) / (items + 2)
    variance = ((better + worse + 2) / (items + 2) - centre**2) / (items + 2)
    return replace(
        base,
        centre=centre,
        error=math.sqrt(max(variance, 0.0)),
        df=float(max(items - 1, 1)),
        p=mcnemar_exact(better, worse),
        method="McNemar exact; Bonett-Price interval",
    )


def _robust(
    base: Difference,
    deviations: FloatArray,
    sums: FloatArray,
    cells: tuple[Cells, Cells],
    span: float | None,
) -> Difference:
    units = base.units
    differing = int((sums != 0).sum())
    variance = units / (units - 1) * float((deviations**2).sum()) if units > 1 else 0.0
    if differing < SPARSE:
        # Too little differs to estimate a variance: what one more unit each way would show (as Bonett & Price do).
        largest = float(np.abs(sums).max()) * units / base.n if differing else (span if span is not None else 0.0)
        variance = max(variance, 2 * largest**2 / (units + 2) ** 2)
    df = float(max(min(units - 1, max(differing - 1, FEWEST_DEGREES)), 1))
    items = variance
    seeds = [seed_variance(part) for part in cells]
    by_seed = [part or (0.0, 0.0) for part in seeds]
    between = by_seed[0][0] + by_seed[1][0]
    crossed = [len(part.values) for part in cells if len(part.values) >= SEEDS_TO_CROSS]
    seed_variances = (0.0, 0.0)
    if crossed:
        kept = [part if len(c.values) >= SEEDS_TO_CROSS else (0.0, 0.0) for part, c in zip(by_seed, cells, strict=True)]
        joint = (kept[0][0] + kept[1][0], kept[0][1] + kept[1][1])
        variance, df = cross(items, df, joint, min(crossed) - 1)
        seed_variances = (max(kept[0][0] - kept[0][1], 0.0), max(kept[1][0] - kept[1][1], 0.0))
    error = math.sqrt(variance)
    p = two_sided_t(base.value / error, df) if crossed and error > 0 else None
    share = between / (items + between) if any(seeds) and items + between > 0 else None
    method = "Student's t, items and seeds crossed" if crossed else "sign-flip permutation; cluster-robust t interval"
    return replace(base, error=error, df=df, p=p, seed_variances=seed_variances, seed_share=share, method=method)


def two_sided_t(statistic: float, df: float) -> float:
    """Student's two-sided p-value."""
    from scipy import special

    return float(2 * (special.ndtr(-abs(statistic)) if math.isinf(df) else special.stdtr(df, -abs(statistic))))


def effect_size(values: FloatArray) -> float | None:
    """Cohen's d_z: the mean paired difference in its own standard deviations (Cohen 1988); None without spread."""
    if len(values) < 2:
        return None
    spread = float(values.std(ddof=1))
    return float(values.mean()) / spread if spread > 1e-12 else None


def as_change(difference: Difference | None, note: str = "") -> PairedChange:
    """The difference as reports print it."""
    if difference is None:
        return PairedChange(None, note=note or "no item in common with the baseline")
    low, high = difference.interval()
    return PairedChange(
        difference.value,
        min(low, difference.value),
        max(high, difference.value),
        difference.p,
        note=note,
        n=difference.n,
        better=difference.better,
        worse=difference.worse,
        effect_size=difference.effect_size,
        seed_share=difference.seed_share,
        method=difference.method,
    )
