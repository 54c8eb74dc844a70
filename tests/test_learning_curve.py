"""The fit of learning curves: known truths, coverage on simulated data, and what it says when it knows too little."""

from __future__ import annotations

import numpy as np
import pytest

from harness.analysis.arrays import cluster_codes
from harness.analysis.curve import fit_curve, learning_curves, value_at
from harness.analysis.result import LearningCurve
from harness.analysis.rows import CurveRows, MetricInfo, TrialRows

SIZES = (50, 100, 200, 400)
METRIC = MetricInfo("accuracy", lambda records: None)


def power(size: float) -> float:
    return 0.9 - 2.0 * size**-0.5


def test_a_curve_of_known_form_is_found_and_extended() -> None:
    sizes = np.array([25.0, 50, 100, 200, 400])
    fit, residual = fit_curve(sizes, power(sizes))
    assert fit.form == "power" and residual < 1e-6
    assert value_at(fit, 800) == pytest.approx(power(800), abs=2e-3)
    fit, residual = fit_curve(sizes, 0.2 + 0.07 * np.log(sizes))
    assert fit.form == "log" and residual < 1e-12
    assert (fit.a, fit.b) == (pytest.approx(0.2), pytest.approx(0.07))


def test_three_sizes_are_not_fitted_by_three_parameters() -> None:
    sizes = np.array([50.0, 100, 200])
    fit, residual = fit_curve(sizes, power(sizes))
    assert fit.form == "log" and residual > 0


def simulated(seed: int, items: int = 150, luck: float = 0.01, arm: str = "lora") -> list[CurveRows]:
    """Right or wrong answers whose chances follow the power law, item by item harder or easier for all sizes alike,
    and the luck of each training."""
    draw = np.random.default_rng(seed)
    hard = draw.uniform(-0.4, 0.4, items)
    rows = []
    for size in SIZES:
        chance = np.clip(power(size) + hard * (1 - power(size)) + draw.normal(0, luck), 0, 1)
        right = draw.random(items) < chance
        records = {f"i{place}": {"value": float(value)} for place, value in enumerate(right)}
        rows.append(CurveRows(size, TrialRows(arm, 0, "done", records={"accuracy": records})))
    return rows


def curve_of(rows: list[CurveRows], groups: list[str | None] | None = None) -> LearningCurve:
    items = list(rows[0].trial.records["accuracy"])
    (curve,) = learning_curves(rows, {}, METRIC, items, cluster_codes(groups) if groups else None)
    return curve


def test_the_interval_covers_what_twice_the_data_would_bring() -> None:
    covered = gains = 0
    experiments = 60
    for seed in range(experiments):
        curve = curve_of(simulated(seed))
        assert curve.doubled is not None and curve.gain is not None and curve.doubled_size == 800
        assert None not in (curve.doubled.low, curve.doubled.high, curve.gain.low, curve.gain.high)
        covered += curve.doubled.low <= power(800) <= curve.doubled.high  # type: ignore[operator]
        gains += curve.gain.low <= power(800) - power(400) <= curve.gain.high  # type: ignore[operator]
    assert covered >= 0.85 * experiments and gains >= 0.85 * experiments


def test_points_fit_and_estimates_stay_on_the_metrics_scale() -> None:
    curve = curve_of(simulated(1))
    assert [point.size for point in curve.points] == list(SIZES)
    assert all(p.score.low <= p.score.value <= p.score.high for p in curve.points)  # type: ignore[operator]
    assert curve.doubled is not None and 0 <= curve.doubled.low <= curve.doubled.high <= 1  # type: ignore[operator]
    assert curve == curve_of(simulated(1))


def test_groups_widen_the_interval() -> None:
    rows = simulated(2)
    same = [
        CurveRows(row.size, TrialRows("lora", 0, "done", records={"accuracy": {
            f"i{10 * place + copy}": {"value": row.trial.records["accuracy"][f"i{place}"]["value"]}
            for place in range(40) for copy in range(10)
        }}))
        for row in rows
    ]  # fmt: skip
    groups: list[str | None] = [f"g{place // 10}" for place in range(400)]
    alone, grouped = curve_of(same).doubled, curve_of(same, groups).doubled
    assert alone is not None and grouped is not None
    assert grouped.high - grouped.low > alone.high - alone.low  # type: ignore[operator]


def test_an_arms_own_trial_on_all_examples_is_a_point() -> None:
    rows = simulated(3)
    items = list(rows[0].trial.records["accuracy"])
    (curve,) = learning_curves(rows[:3], {"lora": rows[3]}, METRIC, items, None)
    assert curve == curve_of(rows)


def test_too_few_sizes_give_points_and_no_fit() -> None:
    rows = simulated(4)
    failed = CurveRows(400, TrialRows("lora", 0, "failed", error="out of memory"))
    items = list(rows[0].trial.records["accuracy"])
    (curve,) = learning_curves([*rows[:2], failed], {}, METRIC, items, None)
    assert curve.fit is None and curve.doubled is None and "there are 2" in curve.note
    assert [point.score.value is None for point in curve.points] == [False, False, True]


def test_metrics_that_are_no_means_are_resampled() -> None:
    metric = MetricInfo("macro_f1", lambda records: _share(records), mean=False)
    rows = [
        CurveRows(row.size, TrialRows("lora", 0, "done", records={"macro_f1": row.trial.records["accuracy"]}))
        for row in simulated(5, items=60)
    ]
    (curve,) = learning_curves(rows, {}, metric, [f"i{place}" for place in range(60)], None)
    assert curve.doubled is not None and curve.doubled.low is not None
    assert curve.doubled.low <= curve.doubled.value <= curve.doubled.high  # type: ignore[operator]


def _share(records: object) -> float:
    values = [record["value"] for record in records]  # type: ignore[attr-defined]
    return sum(values) / len(values)
