"""Intervals for one arm: agreement with scipy and statsmodels, edges, and coverage in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.proportion import proportion_confint

from harness.analysis.arrays import Cells, cluster_codes, number
from harness.analysis.intervals import bootstrap_means, estimate_mean, mean_interval, seed_variance, wilson


def cells(values: object) -> Cells:
    table = np.atleast_2d(np.asarray(values, dtype=float))
    return Cells(table, np.ones(table.shape, dtype=bool))


@pytest.mark.parametrize(("hits", "items"), [(0, 10), (1, 1), (3, 25), (50, 100), (997, 1000)])
def test_wilson_is_statsmodels(hits: int, items: int) -> None:
    expected = proportion_confint(hits, items, method="wilson")
    assert wilson(hits / items, items) == pytest.approx(expected, abs=1e-9)
    shown = mean_interval(cells([1.0] * hits + [0.0] * (items - hits)))
    assert (shown.low, shown.high) == pytest.approx(expected, abs=1e-9)


def test_without_a_scale_it_is_students_t() -> None:
    values = np.random.default_rng(1).normal(3, 2, 40)
    shown = mean_interval(cells(values), low=None, high=None)
    expected = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (shown.low, shown.high) == pytest.approx(expected, abs=1e-9)


def test_a_scale_that_is_open_at_one_end_keeps_the_other() -> None:
    values = [1.0, 1.0, 1.0, 9.0]
    free, above = (mean_interval(cells(values), low=low, high=None) for low in (None, 1.0))
    assert free.low is not None and free.low < 1 and (above.low, above.high) == (1.0, free.high)
    below = mean_interval(cells([-value for value in values]), low=None, high=-1.0)
    assert (below.low, below.high) == (-free.high, -1.0)


def test_cluster_variance_is_statsmodels() -> None:
    generator = np.random.default_rng(2)
    codes = np.repeat(np.arange(30), generator.integers(1, 5, 30))
    values = generator.random(len(codes)) + generator.random(30)[codes]
    fit = OLS(values, np.ones((len(values), 1))).fit()
    # statsmodels' correction is G/(G-1) x (n-1)/(n-k), and k is 1 here.
    robust = fit.get_robustcov_results("cluster", groups=codes, use_correction=True)
    estimate = estimate_mean(cells(values), codes)
    assert estimate is not None and estimate.variance is not None
    assert estimate.variance == pytest.approx(float(robust.cov_params()[0, 0]), rel=1e-9)
    assert estimate.df == 29


def test_edges() -> None:
    empty = Cells(np.zeros((0, 4)), np.zeros((0, 4), dtype=bool))
    assert mean_interval(empty).value is None
    one = mean_interval(cells([0.4]))
    assert one.value == 0.4 and one.low is not None and 0 <= one.low < 0.4 and "one item" in one.note
    assert mean_interval(cells([3.0]), low=None, high=None).low is None
    equal = mean_interval(cells([0.0] * 20), low=0.0, high=1.0)
    assert equal.low == 0.0 and equal.high is not None and equal.high > 0.1
    one_group = mean_interval(cells([0.5, 0.7]), np.array([0, 0]))
    assert one_group.low is not None and one_group.note == "one group only"
    off_scale = mean_interval(cells([40.0, 60.0, 50.0]))  # a metric that broke its own range is still reported
    assert off_scale.low is not None and off_scale.low < 50
    assert number("0.5") is None and number(float("nan")) is None and number(True) == 1.0


def test_groups_are_numbered_and_loners_stand_alone() -> None:
    codes = cluster_codes(["a", None, "a", None])
    assert codes is not None and codes.tolist() == [0, 1, 0, 2]
    assert cluster_codes([None, None]) is None and cluster_codes(None) is None


def test_missing_items_are_left_out_not_counted_as_zero() -> None:
    table = Cells(np.array([[1.0, 0.0, 0.5], [1.0, 1.0, 0.0]]), np.array([[True, False, True], [True, True, False]]))
    shown = mean_interval(table)
    assert shown.value == pytest.approx((0.75 + 1.0) / 2)
    assert "2 seeds" in shown.note


def test_robust_error_agrees_with_the_bootstrap() -> None:
    generator = np.random.default_rng(3)
    codes = np.arange(300) // 3
    values = generator.random((6, 300)) + generator.random(100)[codes] + 0.1 * generator.random((6, 1))
    table = cells(values)
    one = estimate_mean(cells(values[:1]), codes)
    assert one is not None and one.variance is not None
    drawn = bootstrap_means(cells(values[:1]), codes, 4000)
    assert np.sqrt(one.variance) == pytest.approx(drawn.std(), rel=0.06)
    crossed = estimate_mean(table, codes)
    assert crossed is not None and crossed.crossed and crossed.variance is not None
    both = bootstrap_means(table, codes, 4000, cross_seeds=True)
    assert np.sqrt(crossed.variance) == pytest.approx(both.std(), rel=0.15)


def test_seed_and_cell_parts_are_those_of_a_two_way_anova() -> None:
    generator = np.random.default_rng(4)
    values = generator.random((5, 40))
    found = seed_variance(cells(values))
    assert found is not None
    residuals = values - values.mean(0) - values.mean(1)[:, None] + values.mean()
    assert found[0] == pytest.approx(values.mean(1).var(ddof=1) / 5, rel=1e-9)
    assert found[1] == pytest.approx((residuals**2).sum() / (4 * 39) / 200, rel=1e-9)


def test_bootstrap_is_deterministic() -> None:
    table = cells(np.random.default_rng(5).random((1, 1000)))
    first = bootstrap_means(table, None, 10_000, seed=7)
    assert np.array_equal(first, bootstrap_means(table, None, 10_000, seed=7))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_order_of_items_does_not_matter(values: list[float], shuffler: object) -> None:
    codes = np.arange(len(values)) // 2
    order = list(range(len(values)))
    shuffler.shuffle(order)  # type: ignore[attr-defined]
    one = mean_interval(cells(values), codes)
    two = mean_interval(cells(np.array(values)[order]), codes[order])
    assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high), abs=1e-7)
    assert one.low is not None and one.high is not None and one.value is not None
    assert -1e-9 <= one.low <= one.value + 1e-9 and one.value - 1e-9 <= one.high <= 1 + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1).map(lambda value: round(value, 6)), min_size=3, max_size=20), st.floats(0.5, 200))
def test_scale_carries_over(values: list[float], scale: float) -> None:
    one = mean_interval(cells(values), low=0, high=1)
    two = mean_interval(cells(np.array(values) * scale + 1), low=1, high=1 + scale)
    if len(set(values)) > 2:  # two values of 0 and 1 take the exact Wilson branch on one side only
        assert (two.low, two.high) == pytest.approx((one.low * scale + 1, one.high * scale + 1), rel=1e-6)  # type: ignore[operator]


def simulated(
    kind: str, items: int, grouped: bool, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray | None, float]:
    """Experiments [count, items], their groups of two to four, and the true mean."""
    generator = np.random.default_rng(seed)
    sizes: list[int] = []
    while sum(sizes) < items:
        sizes.append(int(generator.integers(2, 5)))
    codes = np.repeat(np.arange(len(sizes)), sizes)[:items]
    share = 0.3 if grouped else 0.0
    normal = np.sqrt(1 - share) * generator.standard_normal((count, items))
    normal += np.sqrt(share) * generator.standard_normal((count, codes.max() + 1))[:, codes]
    uniform = special.ndtr(normal)
    if kind == "token_f1":  # 30 % wrong, 25 % right, the rest in between
        middle = special.betaincinv(2, 2, np.clip((uniform - 0.3) / 0.45, 0, 1))
        return np.where(uniform < 0.3, 0, np.where(uniform > 0.75, 1, middle)), codes if grouped else None, 0.475
    if kind == "rare":  # 80 % zeros
        return np.where(uniform < 0.8, 0, (uniform - 0.8) * 3), codes if grouped else None, 0.06
    rate = float(kind)
    return (uniform > 1 - rate).astype(float), codes if grouped else None, rate


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ["0.5", "token_f1", "rare"])
@pytest.mark.parametrize("items", [25, 100])
def test_coverage(kind: str, items: int, grouped: bool) -> None:
    check_coverage(kind, items, grouped, 800, slack=0.018)


@pytest.mark.slow
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ["0.5", "token_f1", "rare"])
@pytest.mark.parametrize("items", [25, 50, 100, 400])
def test_coverage_at_length(kind: str, items: int, grouped: bool) -> None:
    check_coverage(kind, items, grouped, 10_000, slack=0.006)


def check_coverage(kind: str, items: int, grouped: bool, count: int, slack: float) -> None:
    """93.5 to 97.5 %, with `slack` for the simulation's own error (two standard errors and a little).

    Right/wrong items are simulated at a rate of one half: for single shares the coverage of any interval swings with
    the rate (Wilson's, computed exactly: 92.3 % at 25 items and 0.3, 96.7 % at 0.1).
    """
    data, codes, truth = simulated(kind, items, grouped, count, seed=11)
    shown = [mean_interval(cells(row), codes) for row in data]
    share = np.mean([one.low <= truth <= one.high for one in shown])  # type: ignore[operator]
    assert 0.935 - slack <= share <= 0.975 + slack


@pytest.mark.parametrize("luck", [0.0, 0.3])
def test_coverage_with_seeds_crossed(luck: float) -> None:
    generator = np.random.default_rng(12)
    truth = float(special.ndtr(0.3 / np.sqrt(1 + luck**2)))
    hits = 0
    for _ in range(400):
        noise = np.sqrt(0.5) * generator.standard_normal((5, 150)) + luck * generator.standard_normal((5, 1))
        shown = mean_interval(cells(np.sqrt(0.5) * generator.standard_normal(150) + noise > -0.3))
        assert shown.low is not None and shown.high is not None
        hits += shown.low <= truth <= shown.high
    assert 0.91 <= hits / 400 <= 0.99
