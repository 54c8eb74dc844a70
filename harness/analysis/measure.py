"""One metric over all arms of a run: intervals and pairwise differences, whatever kind of metric it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.analysis.arrays import BoolArray, Cells, FloatArray, IntArray, cells_of, number, records_of
from harness.analysis.intervals import (
    SEEDS_TO_CROSS,
    MeanEstimate,
    bounded_interval,
    cross,
    mean_interval,
    seed_note,
)
from harness.analysis.paired import Difference, identical, paired_difference, two_sided_t
from harness.analysis.resample import replicates, swap_p
from harness.analysis.result import Interval
from harness.analysis.rows import MetricInfo, TrialRows
from harness.types import Record

Table = dict[int, Record]


def same_predictions(first: Sequence[TrialRows], second: Sequence[TrialRows]) -> bool:
    """Equal digests, seed by seed, or one digest throughout (deterministic arms run once)."""
    one = {trial.seed: trial.prediction_digest for trial in first}
    two = {trial.seed: trial.prediction_digest for trial in second}
    if not one or not two or None in one.values() or None in two.values():
        return False
    return one == two or len({*one.values(), *two.values()}) == 1


class Measure:
    """`trials[arm]` are the finished trials of each arm."""

    def __init__(
        self,
        metric: MetricInfo,
        trials: Mapping[str, Sequence[TrialRows]],
        items: Sequence[str],
        codes: IntArray | None,
    ) -> None:
        self.metric, self.trials, self.codes = metric, trials, codes
        self.size = len(items)
        self.positions = {item: i for i, item in enumerate(items)}
        self.cells: dict[str, Cells] = {}
        self.tables: dict[str, list[Table]] = {}
        self._replicates: dict[tuple[str, bytes], tuple[FloatArray, FloatArray]] = {}
        for arm, rows in trials.items():
            if metric.mean:
                self.cells[arm] = cells_of(rows, metric.name, self.positions)
            else:
                tables = [records_of(trial, metric.name, self.positions) for trial in rows]
                self.tables[arm] = [table for table in tables if table]

    @property
    def span(self) -> float | None:
        low, high = self.metric.low, self.metric.high
        return high - low if low is not None and high is not None and high > low else None

    def seen(self, arm: str) -> BoolArray:
        """Items for which the arm has a value."""
        if self.metric.mean:
            return self.cells[arm].seen
        seen = np.zeros(self.size, dtype=bool)
        for table in self.tables[arm]:
            seen[list(table)] = True
        return seen

    def seed_scores(self, arm: str) -> list[float]:
        """The metric of each seed."""
        if self.metric.mean:
            return [float(value) for value in self.cells[arm].seed_means()]
        scores = [number(self.metric.aggregate(list(table.values()))) for table in self.tables[arm]]
        return [score for score in scores if score is not None]

    def score(self, arm: str) -> float | None:
        scores = self.seed_scores(arm)
        return float(np.mean(scores)) if scores else None

    def interval(self, arm: str) -> Interval:
        """The arm's score with its 95 % interval."""
        metric = self.metric
        if metric.mean:
            result = mean_interval(self.cells[arm], self.codes, metric.low, metric.high)
            return result if result.value is not None else replace(result, note=self._why_missing(arm))
        value = self.score(arm)
        if value is None:
            return Interval(None, note=self._why_missing(arm))
        draws, seeds = self._draws(arm, self._common([arm]))
        draws = draws[np.isfinite(draws)]
        units = self._units(self._common([arm]))
        if len(draws) < 2 or units < 2:
            return Interval(value, note="too few items for an interval")
        variance, df, crossed = self._cross(float(draws.var(ddof=1)), units, [seeds])
        estimate = MeanEstimate(value, variance, df, units, variance, None, crossed)
        low, high = bounded_interval(estimate, metric.low, metric.high)
        return Interval(value, low, high, seed_note(len(seeds), crossed))

    def difference(self, first: str, second: str, test: bool = True) -> Difference | None:
        """First minus second on the items that both have."""
        common = self.seen(first) & self.seen(second)
        if not common.any():
            return None
        if self.metric.from_answers and same_predictions(self.trials[first], self.trials[second]):
            return identical(int(common.sum()), self._units(common), self.size)
        if self.metric.mean:
            return paired_difference(self.cells[first], self.cells[second], self.codes, self.span, test)
        return self._resampled(first, second, test)

    def _resampled(self, first: str, second: str, test: bool) -> Difference | None:
        items = self._common([first, second])
        if not items.any():
            return None
        (draws1, seeds1), (draws2, seeds2) = self._draws(first, items), self._draws(second, items)
        count = min(len(draws1), len(draws2))
        gaps = draws1[:count] - draws2[:count]
        fine = np.isfinite(gaps)
        units = self._units(items)
        if not len(seeds1) or not len(seeds2) or fine.sum() < 2 or units < 2:
            return None
        value = float(seeds1.mean() - seeds2.mean())
        deviations = np.where(fine, gaps - gaps[fine].mean(), 0.0) / math.sqrt(fine.sum() - 1)
        variance, df, crossed = self._cross(float((deviations**2).sum()), units, [seeds1, seeds2])
        if variance <= 0 and self.span is not None:
            variance = 2 * self.span**2 / (units + 2) ** 2
        p = None
        if test and not crossed and len(self.tables[first]) == len(self.tables[second]) == 1:
            one, two = self._pick(first, items)[0], self._pick(second, items)[0]
            p = swap_p(one, two, self.metric.aggregate, self._sub(items))
        if test and p is None:
            p = two_sided_t(value / math.sqrt(variance), df) if variance > 0 else 1.0
        result = Difference(value, value, math.sqrt(variance), df, int(items.sum()), units, deviations)
        return replace(result, p=p, method="records resampled")

    def _cross(self, items: float, units: int, seeds: Sequence[FloatArray]) -> tuple[float, float, bool]:
        many = [scores for scores in seeds if len(scores) >= SEEDS_TO_CROSS]
        if not many:
            return items, float(units - 1), False
        between = sum(float(scores.var(ddof=1)) / len(scores) for scores in many)
        variance, df = cross(items, units - 1, (between, 0.0), min(map(len, many)) - 1)
        return variance, df, True

    def _common(self, arms: Sequence[str]) -> BoolArray:
        """Items that every seed of these arms has: records cannot be averaged over seeds as scores can."""
        common = np.ones(self.size, dtype=bool)
        for arm in arms:
            for table in self.tables[arm]:
                here = np.zeros(self.size, dtype=bool)
                here[list(table)] = True
                common &= here
        return common

    def _pick(self, arm: str, items: BoolArray) -> list[list[Record]]:
        return [[table[int(i)] for i in np.flatnonzero(items)] for table in self.tables[arm]]

    def _sub(self, items: BoolArray) -> IntArray | None:
        return None if self.codes is None else np.unique(self.codes[items], return_inverse=True)[1]

    def _units(self, items: BoolArray) -> int:
        return int(items.sum()) if self.codes is None else len(np.unique(self.codes[items]))

    def _draws(self, arm: str, items: BoolArray) -> tuple[FloatArray, FloatArray]:
        """(resampled scores averaged over seeds, score of each seed) on these items."""
        key = (arm, items.tobytes())
        if key not in self._replicates:
            if not items.any():
                return np.zeros(0), np.zeros(0)
            picked, codes = self._pick(arm, items), self._sub(items)
            tables = [replicates(records, self.metric.aggregate, codes) for records in picked]
            fewest = min(map(len, tables), default=0)
            scores = [number(self.metric.aggregate(records)) for records in picked]
            draws = np.mean([table[:fewest] for table in tables], axis=0) if tables else np.zeros(0)
            self._replicates[key] = (draws, np.array([score for score in scores if score is not None]))
        return self._replicates[key]

    def _why_missing(self, arm: str) -> str:
        """The first reason that a record gives for having no value."""
        for trial in self.trials[arm]:
            for record in trial.records.get(self.metric.name, {}).values():
                if record.get("reason"):
                    return str(record["reason"])
        return "not computed for this arm"
