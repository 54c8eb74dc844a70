"""Learning curves: score against the number of training examples, a fit, and what twice the data would bring.

The fit is an inverse power law, score = a - b * n**-c (Cortes, Jackel, Solla, Vapnik & Denker 1993, NIPS 6:327; the
review of Viering & Loog 2023, IEEE TPAMI 45:7799, finds no form that is better throughout), or a + b * ln(n), its limit
for small c with one parameter less, where that has the smaller residual variance. With c given both are linear least
squares, so c runs over a grid.

The interval: items (or groups of items) are resampled, the same for all sizes, because all sizes answered the same
items; and each point gets normal noise of the fit's residual variance, for what items do not know: which examples were
drawn and how their training went. For each resample c is chosen again. Percentiles of the estimates are the interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis.arrays import BoolArray, FloatArray, IntArray, resample_counts
from harness.analysis.measure import Measure
from harness.analysis.resample import replicates
from harness.analysis.result import CurveFit, CurvePoint, Interval, LearningCurve
from harness.analysis.rows import CurveRows, MetricInfo, TrialRows

LEAST_SIZES = 3
EXPONENTS = np.geomspace(0.05, 2.0, 25)
RESAMPLES = 2_000


def learning_curves(
    rows: Sequence[CurveRows],
    whole: Mapping[str, CurveRows],
    metric: MetricInfo,
    items: Sequence[str],
    codes: IntArray | None,
) -> tuple[LearningCurve, ...]:
    """One curve an arm. `whole`: each arm's own trial on all training examples, with the same seed."""
    by_arm: dict[str, dict[int, TrialRows]] = {}
    for row in rows:
        by_arm.setdefault(row.trial.arm, {})[row.size] = row.trial
    for arm, trials in by_arm.items():
        if arm in whole:
            trials.setdefault(whole[arm].size, whole[arm].trial)
    return tuple(_curve(arm, dict(sorted(trials.items())), metric, items, codes) for arm, trials in by_arm.items())


def _curve(
    arm: str, trials: Mapping[int, TrialRows], metric: MetricInfo, items: Sequence[str], codes: IntArray | None
) -> LearningCurve:
    measure = Measure(metric, {str(size): [trial] for size, trial in trials.items()}, items, codes)
    points = tuple(CurvePoint(size, measure.interval(str(size))) for size in trials)
    known = [point.size for point in points if point.score.value is not None]
    curve = LearningCurve(arm, metric.name, points)
    if len(known) < LEAST_SIZES:
        note = f"a fit needs at least {LEAST_SIZES} sizes with a score; there are {len(known)}"
        return LearningCurve(**{**vars(curve), "note": note})
    common = np.logical_and.reduce([measure.seen(str(size)) for size in known])
    if common.sum() < 2:
        return LearningCurve(**{**vars(curve), "note": "too few items have a score at every size"})
    scores = np.array([point.score.value for point in points if point.score.value is not None])
    sizes = np.array(known, dtype=float)
    fit, residual = fit_curve(sizes, scores)
    draws = _draws(measure, known, common)
    noise = np.random.default_rng(1).normal(0.0, math.sqrt(residual), size=draws.shape)
    here, there = float(sizes[-1]), 2 * float(sizes[-1])
    low, high = metric.low, metric.high
    ends = predict_many(sizes, draws + noise, fit.form, (here, there))
    ends = ends[np.isfinite(ends).all(axis=1)]
    bounded = np.clip(ends, -np.inf if low is None else low, np.inf if high is None else high)
    estimate = [float(np.clip(value_at(fit, size), low, high)) for size in (here, there)]
    return LearningCurve(
        arm,
        metric.name,
        points,
        fit=fit,
        doubled_size=round(there),
        doubled=_interval(estimate[1], bounded[:, 1]),
        gain=_interval(estimate[1] - estimate[0], bounded[:, 1] - bounded[:, 0]),
    )


def _interval(value: float, draws: FloatArray) -> Interval:
    if len(draws) < 2:
        return Interval(value, note="too few resamples could be computed")
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(value, min(float(low), value), max(float(high), value))


def _draws(measure: Measure, sizes: Sequence[int], common: BoolArray) -> FloatArray:
    """Resampled scores on the items that all sizes have, [resamples, sizes]; row by row the same items."""
    codes = None
    if measure.codes is not None:
        codes = np.unique(measure.codes[common], return_inverse=True)[1]
    columns = []
    for size in sizes:
        name = str(size)
        if measure.metric.mean:
            columns.append(measure.cells[name].values[0][common])
        else:
            table = measure.tables[name][0]
            records = [table[int(place)] for place in np.flatnonzero(common)]
            columns.append(replicates(records, measure.metric.aggregate, codes))
    if measure.metric.mean:
        counts = resample_counts(int(common.sum()), codes, RESAMPLES, seed=0)
        return np.asarray(counts @ np.array(columns).T / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    return np.array(columns).T


# ------------------------------------------------------------------------------------------------------- fitting


def _basis(form: str, c: float, sizes: FloatArray) -> FloatArray:
    """Columns of the linear problem once c is given, [sizes, 2]."""
    second = np.log(sizes) if form == "log" else -(sizes**-c)
    return np.column_stack([np.ones(len(sizes)), second])


def fit_curve(sizes: FloatArray, scores: FloatArray) -> tuple[CurveFit, float]:
    """The better of the two forms by residual variance, and that variance. The power law needs four sizes: with three
    it would pass through every point."""
    found = []
    for form, parameters, exponents in (("log", 2, np.zeros(1)), ("power", 3, EXPONENTS)):
        if len(sizes) <= parameters:
            continue
        errors, solutions = _least_squares(form, exponents, sizes, scores[None, :])
        best = int(errors[:, 0].argmin())
        a, b = solutions[best, 0]
        fit = CurveFit(form, float(a), float(b), float(exponents[best]))
        found.append((float(errors[best, 0]) / (len(sizes) - parameters), fit))
    residual, fit = min(found, key=lambda pair: pair[0])
    return fit, residual


def _least_squares(
    form: str, exponents: FloatArray, sizes: FloatArray, scores: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """For each exponent and each row of scores: the sum of squared errors, [exponents, rows], and a and b,
    [exponents, rows, 2]."""
    errors, solutions = [], []
    for c in exponents:
        basis = _basis(form, float(c), sizes)
        solution = scores @ np.linalg.pinv(basis).T
        errors.append(((scores - solution @ basis.T) ** 2).sum(axis=1))
        solutions.append(solution)
    return np.array(errors), np.array(solutions)


def value_at(fit: CurveFit, size: float) -> float:
    """The fitted score at a number of training examples."""
    basis = _basis(fit.form, fit.c, np.array([size]))[0]
    return float(basis @ np.array([fit.a, fit.b]))


def predict_many(sizes: FloatArray, scores: FloatArray, form: str, at: Sequence[float]) -> FloatArray:
    """Each row of scores fitted by itself in the given form and read at the sizes `at`, [rows, at]."""
    exponents = np.zeros(1) if form == "log" else EXPONENTS
    errors, solutions = _least_squares(form, exponents, sizes, scores)
    best = errors.argmin(axis=0)
    chosen = solutions[best, np.arange(len(scores))]
    read = np.array([_basis(form, float(c), np.array(at, dtype=float)) for c in exponents])[best]
    return np.asarray(np.einsum("rap,rp->ra", read, chosen))
