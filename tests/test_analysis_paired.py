"""Paired comparison, multiplicity and power: agreement with scipy and statsmodels, false positives, properties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from harness.analysis.arrays import Cells
from harness.analysis.measure import Measure
from harness.analysis.multiplicity import ONE_SIDED, correlation_of, holm, joint_level
from harness.analysis.paired import as_change, effect_size, mcnemar_exact, paired_difference, sign_flip_p, two_sided_t
from harness.analysis.power import (
    design_effect,
    items_for_margin,
    items_to_settle,
    joint_quantile,
    observed_difference,
    planned_difference,
)
from harness.analysis.resample import fast_path, repeat
from harness.analysis.rows import MetricInfo, TrialRows


def cells(values: object) -> Cells:
    table = np.atleast_2d(np.asarray(values, dtype=float))
    return Cells(table, np.ones(table.shape, dtype=bool))


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (5, 0), (12, 7), (30, 31), (400, 350)])
def test_mcnemar_is_statsmodels(better: int, worse: int) -> None:
    expected = mcnemar([[10, better], [worse, 3]], exact=True).pvalue
    assert mcnemar_exact(better, worse) == pytest.approx(expected, abs=1e-9)


def test_exhaustive_sign_flip_is_scipy() -> None:
    sums = np.array([0.31, -0.12, 0.55, 0.2, 0.41, -0.07, 0.33, 0.18])
    expected = stats.permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert sign_flip_p(sums) == pytest.approx(expected, abs=1e-9)
    drawn = sign_flip_p(np.concatenate([sums, np.full(20, 1e-12)]))
    assert drawn == pytest.approx(expected, abs=0.01)


def test_without_groups_or_sparseness_the_interval_is_the_paired_t() -> None:
    generator = np.random.default_rng(1)
    one, two = generator.random(40), generator.random(40)
    found = paired_difference(cells(one), cells(two))
    assert found is not None
    expected = stats.ttest_rel(one, two).confidence_interval(0.95)
    assert found.interval() == pytest.approx((expected.low, expected.high), abs=1e-9)
    statistic, p = stats.ttest_rel(one, two)
    assert two_sided_t(statistic, 39) == pytest.approx(p, abs=1e-9)
    assert found.effect_size == pytest.approx((one - two).mean() / (one - two).std(ddof=1), abs=1e-9)
    assert effect_size(np.zeros(5)) is None


def test_bonett_price_by_hand() -> None:
    right, other = [1] * 30 + [0] * 10 + [1] * 4 + [0] * 6, [1] * 30 + [1] * 10 + [0] * 4 + [0] * 6
    found = paired_difference(cells(right), cells(other))
    assert found is not None
    shares = 11 / 52, 5 / 52
    centre = shares[1] - shares[0]
    assert found.value == pytest.approx(-6 / 50) and found.centre == pytest.approx(centre)
    assert found.error == pytest.approx(math.sqrt((sum(shares) - centre**2) / 52))
    assert found.p == pytest.approx(mcnemar_exact(4, 10))


def test_equal_scores_of_unequal_answers_are_not_certain() -> None:
    same = np.random.default_rng(2).random(50)
    found = paired_difference(cells(same), cells(same))
    assert found is not None and found.value == 0 and found.p == 1
    low, high = found.interval()
    assert low < -0.02 and high > 0.02


def test_nothing_in_common_and_missing_items() -> None:
    left = Cells(np.array([[1.0, 0.0]]), np.array([[True, False]]))
    right = Cells(np.array([[0.0, 1.0]]), np.array([[False, True]]))
    assert paired_difference(left, right) is None
    assert "no item in common" in as_change(None).note
    both = paired_difference(left, cells([0.25, 0.0]))
    assert both is not None and both.n == 1 and both.value == 0.75


def test_seeds_take_their_share_of_the_variance() -> None:
    generator = np.random.default_rng(3)
    items = generator.random(200)
    lucky = items + 0.02 * generator.random((5, 200)) + np.array([[0.0], [0.2], [0.4], [0.1], [0.3]])
    found = paired_difference(cells(lucky), cells(items))
    assert found is not None and found.seed_share is not None and found.seed_share > 0.9
    assert "crossed" in found.method and found.df < 6
    few = paired_difference(cells(lucky[:2]), cells(items))
    assert few is not None and few.error < found.error / 5  # conditional on two seeds


@pytest.mark.parametrize("grouped", [False, True])
def test_false_positives_and_coverage_of_the_difference(grouped: bool) -> None:
    """25 groups of four items (or 100 single ones), correlated at 0.5 within a group."""
    generator = np.random.default_rng(4)
    codes = np.arange(100) // 4 if grouped else None
    hits = positives = 0
    for _ in range(400):
        drawn = []
        for _arm in range(2):
            normal = generator.standard_normal(100)
            if grouped:
                normal = np.sqrt(0.5) * normal + np.sqrt(0.5) * np.repeat(generator.standard_normal(25), 4)
            drawn.append(cells(normal > 0))
        found = paired_difference(drawn[0], drawn[1], codes, test=False)
        assert found is not None
        low, high = found.interval()
        hits += low <= 0 <= high
        sums = (drawn[0].values - drawn[1].values)[0]
        p = mcnemar_exact(int((sums > 0).sum()), int((sums < 0).sum()))
        if grouped:
            p = sign_flip_p(np.bincount(np.arange(100) // 4, weights=sums), 999)
        positives += p <= 0.05
    assert 0.93 <= hits / 400 <= 0.985
    assert positives / 400 <= 0.07


def test_a_planted_effect_is_found_and_its_sign_is_kept() -> None:
    generator = np.random.default_rng(5)
    worse = generator.random(200) * 0.5
    found = paired_difference(cells(worse + 0.1 + 0.05 * generator.random(200)), cells(worse), np.arange(200) // 4)
    assert found is not None and found.p is not None and found.p < 0.001 and found.interval()[0] > 0.05
    turned = found.reversed()
    assert turned.value == -found.value and turned.interval()[1] == pytest.approx(-found.interval()[0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=25), st.floats(0, 0.5))
def test_more_of_the_same_shifts_the_difference(pairs: list[tuple[float, float]], more: float) -> None:
    one, two = np.array(pairs).T
    codes = np.arange(len(pairs)) // 2
    before, after = (
        paired_difference(cells(one), cells(two), codes),
        paired_difference(cells(one + more), cells(two), codes),
    )
    swapped = paired_difference(cells(two), cells(one), codes)
    assert before is not None and after is not None and swapped is not None
    assert after.value == pytest.approx(before.value + more, abs=1e-9)
    assert swapped.value == pytest.approx(-before.value, abs=1e-9) and swapped.p == pytest.approx(before.p, abs=0.02)
    assert before.p is not None and 0 < before.p <= 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_statsmodels(values: list[float]) -> None:
    assert holm(values) == pytest.approx(multipletests(values, method="holm")[1].tolist(), abs=1e-9)


def test_holm_leaves_unknown_alone() -> None:
    assert holm([0.01, None, 0.04]) == pytest.approx([0.02, None, 0.04])
    assert holm([]) == [] and holm([None]) == [None]


def test_max_t_is_dunnetts_critical_value() -> None:
    """Dunnett's table, one-sided 2.5 %, infinite degrees of freedom, five comparisons: 2.51; simulated within 0.03."""
    correlation = np.full((5, 5), 0.5) + 0.5 * np.eye(5)
    exact = joint_quantile(1 - ONE_SIDED, 5)
    assert exact == pytest.approx(2.511, abs=0.005)
    assert stats.norm.isf(joint_level(correlation)) == pytest.approx(exact, abs=0.03)
    assert joint_level(np.eye(1)) == ONE_SIDED
    assert joint_level(np.ones((4, 4))) == pytest.approx(ONE_SIDED, rel=0.1)  # the same comparison four times
    independent = 1 - (1 - ONE_SIDED) ** (1 / 3)
    assert joint_level(np.eye(3)) == pytest.approx(independent, rel=0.1)


def test_correlations() -> None:
    deviations = np.array([[1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    assert correlation_of(deviations) == pytest.approx(np.eye(3))
    assert correlation_of(deviations, np.full((3, 3), 2.0))[0, 1] == pytest.approx(0.5)


def test_power_plans() -> None:
    fewer, more = planned_difference(100, 6, 0.02), planned_difference(400, 6, 0.02)
    assert fewer is not None and more is not None
    assert (fewer - 0.02) / (more - 0.02) == pytest.approx(2, rel=0.03)
    two, grouped = planned_difference(100, 2, 0.02), planned_difference(100, 6, 0.02, [4] * 25)
    assert two is not None and grouped is not None and two < fewer < grouped
    assert planned_difference(1, 6, 0.02) is None and planned_difference(100, 1, 0.02) is None
    assert items_for_margin(0.0, 6) is None
    needed = items_for_margin(0.05, 6)
    assert needed is not None
    there = planned_difference(needed, 6, 0.05)
    assert there == pytest.approx(0.10, abs=0.001)
    assert design_effect([4] * 25, 0.1) == pytest.approx(1.3) and design_effect([1] * 9) == 1.0
    assert items_to_settle(0.05, 0.02, 100, 3, 0.05) is None
    assert observed_difference([0.0], 3, 0.05, 99) is None
    close, far = items_to_settle(0.06, 0.02, 100, 3, 0.05), items_to_settle(0.09, 0.02, 100, 3, 0.05)
    assert close is not None and far is not None and close > 10 * far > 100


def macro_f1(records: object, gold_only: bool = False) -> float:
    rows = list(records)  # type: ignore[call-overload]
    labels = {row["gold"] for row in rows} | (set() if gold_only else {row["predicted"] for row in rows})
    total = 0.0
    for label in labels:
        hits = sum(row["gold"] == label == row["predicted"] for row in rows)
        total += 2 * hits / sum((row["gold"] == label) + (row["predicted"] == label) for row in rows)
    return total / len(labels)


def answers(generator: np.random.Generator, count: int, right: float) -> list[dict[str, str]]:
    gold = generator.integers(0, 5, count)
    said = np.where(generator.random(count) < right, gold, generator.integers(0, 7, count))
    return [{"gold": f"l{a}", "predicted": f"l{b}"} for a, b in zip(gold, said, strict=True)]


@pytest.mark.parametrize("gold_only", [False, True])
def test_fast_path_equals_the_metric_itself(gold_only: bool) -> None:
    generator = np.random.default_rng(6)
    records = answers(generator, 60, 0.6)
    aggregate = lambda rows: macro_f1(rows, gold_only)  # noqa: E731
    fast = fast_path(records, aggregate)
    assert fast is not None
    for _ in range(10):
        counts = np.bincount(generator.integers(0, 60, 60), minlength=60).astype(float)
        assert fast(counts[None, :])[0] == pytest.approx(aggregate(repeat(records, counts)), abs=1e-9)
    assert fast_path(records, lambda rows: 0.5) is None  # some other metric of the same records
    assert fast_path([{"gold": ["x"], "predicted": "x"}], macro_f1) is None
    assert fast_path([{"value": 1.0}], macro_f1) is None


@pytest.mark.parametrize("slow", [False, True])
def test_records_are_resampled_where_the_metric_is_no_mean(slow: bool) -> None:
    generator = np.random.default_rng(7)
    items = [f"i{i}" for i in range(150)]
    aggregate = (lambda rows: macro_f1(rows) ** 1.5) if slow else macro_f1
    trials = {
        arm: [TrialRows(arm, 0, "done", {"m": dict(zip(items, answers(generator, 150, right), strict=True))})]
        for arm, right in (("good", 0.9), ("bad", 0.4))
    }
    measure = Measure(MetricInfo("m", aggregate, mean=False), trials, items, np.arange(150) // 2)
    shown = measure.interval("good")
    assert shown.low is not None and shown.high is not None and shown.value is not None
    assert 0.4 < shown.low < shown.value < shown.high < 0.8
    found = measure.difference("good", "bad")
    assert found is not None and found.p is not None and found.p < 0.01 and found.interval()[0] > 0.2


def test_what_is_measured_on_the_model_may_differ_where_the_answers_do_not() -> None:
    items = [f"i{i}" for i in range(40)]
    generator = np.random.default_rng(3)
    easy = generator.random(40)

    def perplexity(rows: Sequence[Mapping[str, float]]) -> float:
        return math.exp(math.fsum(row["nats"] for row in rows) / len(rows))

    tables = {
        arm: {item: {"nats": float(nats) * factor} for item, nats in zip(items, easy, strict=True)}
        for arm, factor in (("one", 1.0), ("two", 2.0))
    }
    tables["two"]["i0"] = {"reason": "it was not measured"}
    trials = {arm: [TrialRows(arm, 0, "done", {"m": table}, prediction_digest="d")] for arm, table in tables.items()}
    measured = MetricInfo("m", perplexity, higher_is_better=False, mean=False, low=1.0, high=None, from_answers=False)
    found = Measure(measured, trials, items, None).difference("two", "one")
    assert found is not None and found.method == "records resampled" and found.n == 39
    right = [{arm: table[item] for arm, table in tables.items()} for item in items[1:]]
    expected = perplexity([row["two"] for row in right]) - perplexity([row["one"] for row in right])
    assert found.value == pytest.approx(expected) and found.interval()[0] > 0
    same = Measure(replace(measured, from_answers=True), trials, items, None).difference("two", "one")
    assert same is not None and same.method == "identical predictions"
