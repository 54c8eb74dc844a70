"""Public benchmarks over the arms of a run: scores, changes against the baseline paired by item, and forgetting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.analysis.intervals import LEVEL, t_quantile
from harness.analysis.limits import Measured
from harness.analysis.measure import Measure
from harness.analysis.multiplicity import holm
from harness.analysis.paired import Difference, as_change
from harness.analysis.result import BenchmarkComparison, Interval, PairedChange
from harness.analysis.rows import BenchmarkRows, MetricInfo, TrialRows

Trials = Mapping[str, Sequence[TrialRows]]
Name = tuple[str, str]  # task or group, metric


class Benchmarks:
    """Every benchmark metric that any of the finished trials has, in the order of the file.

    The tasks of a group (MMLU's subjects) make one more benchmark under the group's name: all their items together, as
    lm-eval weighs them. Arms whose models are the same (prompting, retrieval) are equal by construction.
    """

    def __init__(self, trials: Trials, baseline: str) -> None:
        self.trials, self.baseline = trials, baseline
        found: dict[Name, dict[tuple[str, int], list[BenchmarkRows]]] = {}
        for arm, rows in trials.items():
            for trial in rows:
                for row in trial.benchmarks:
                    for name in dict.fromkeys((row.group, row.task)):
                        found.setdefault((name, row.metric), {}).setdefault((arm, trial.seed), []).append(row)
        self.found = found
        self.measures = {name: self._measure(name[1], rows) for name, rows in found.items()}
        self.primary = [name for name, rows in found.items() if self._leads(name, rows)]

    @staticmethod
    def _leads(name: Name, rows: Mapping[tuple[str, int], Sequence[BenchmarkRows]]) -> bool:
        """The first metric of what the experiment file names: it stands in the report and counts as forgetting."""
        return all(row.primary and row.group == name[0] for table in rows.values() for row in table)

    def _measure(self, metric: str, rows: Mapping[tuple[str, int], Sequence[BenchmarkRows]]) -> Measure | None:
        """None where the metric is not a mean of items: its change cannot be paired."""
        tables = list(rows.values())
        if not all(row.mean for table in tables for row in table):
            return None
        items = dict.fromkeys(f"{row.task}/{item}" for table in tables for row in table for item in row.items)
        made: dict[str, list[TrialRows]] = {}
        for (arm, seed), table in rows.items():
            records = {f"{row.task}/{item}": {"value": value} for row in table for item, value in row.items.items()}
            model = table[0].model_key
            made.setdefault(arm, []).append(
                TrialRows(arm, seed, "done", records={metric: records}, prediction_digest=model)
            )
        values = [value for table in tables for row in table for value in row.items.values() if value is not None]
        shares = bool(values) and min(values) >= 0 and max(values) <= 1
        info = MetricInfo(
            name=metric,
            aggregate=lambda records: None,  # a mean of values, so never called
            higher_is_better=tables[0][0].higher_is_better,
            low=0.0 if shares else None,
            high=1.0 if shares else None,
        )
        return Measure(info, made, list(items), None)

    # ------------------------------------------------------------------------------------------------- results

    def comparisons(self) -> tuple[BenchmarkComparison, ...]:
        """One row a benchmark and metric. p-values are corrected together over the primary metrics of all arms."""
        made = [self._comparison(name, measure) for name, measure in self.measures.items()]
        tests = {
            (row.name, row.metric, arm): change.p
            for row in made
            if row.primary
            for arm, change in row.changes.items()
            if change.p is not None and not _same(change)
        }
        adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
        return tuple(
            replace(
                row,
                changes={
                    arm: replace(change, p_adjusted=adjusted.get((row.name, row.metric, arm)))
                    for arm, change in row.changes.items()
                },
            )
            for row in made
        )

    def _comparison(self, name: Name, measure: Measure | None) -> BenchmarkComparison:
        rows = self.found[name]
        first = next(iter(rows.values()))
        arms = [arm for arm in self.trials if any(key[0] == arm for key in rows)]
        changes: dict[str, PairedChange] = {}
        if measure is not None and self.baseline in arms:
            changes = {arm: as_change(measure.difference(arm, self.baseline)) for arm in arms if arm != self.baseline}
        return BenchmarkComparison(
            name=name[0],
            metric=name[1],
            primary=name in self.primary,
            tasks=len(first),
            n=max(sum(len(row.items) for row in table) for table in rows.values()),
            shots=first[0].shots,
            higher_is_better=first[0].higher_is_better,
            scores={arm: self._score(arm, name, measure) for arm in arms},
            changes=changes,
            truncated=max(sum(row.truncated for row in table) for table in rows.values()),
        )

    def _score(self, arm: str, name: Name, measure: Measure | None) -> Interval:
        if measure is not None:
            return measure.interval(arm)
        tables = [table for (one, _), table in self.found[name].items() if one == arm]
        values = [table[0].value for table in tables if len(table) == 1 and table[0].value is not None]
        return Interval(float(np.mean(values)) if values else None, note="not a mean of items: no interval")

    # ---------------------------------------------------------------------------------------------- forgetting

    def forgetting(self) -> dict[str, Measured]:
        """How far an arm fell below the baseline, the mean over primary benchmarks, with its 95 % interval; below 0
        where it gained. Unknown where a benchmark of the baseline was not measured on the arm.

        Benchmarks have different items, so that their errors add up as independent ones; degrees of freedom by
        Welch-Satterthwaite (Satterthwaite 1946, Biometrics Bulletin 2:110).
        """
        known = [name for name in self.primary if self.measures[name] is not None]
        if not known or self.baseline not in self.trials:
            return {}
        result: dict[str, Measured] = {}
        for arm in self.trials:
            drops = [self._drop(name, arm) for name in known]
            if all(drop is not None for drop in drops):
                result[arm] = _mean_of([drop for drop in drops if drop is not None])
        return result

    def _drop(self, name: Name, arm: str) -> Difference | None:
        measure = self.measures[name]
        if measure is None or arm not in measure.trials or self.baseline not in measure.trials:
            return None
        change = measure.difference(self.baseline, arm, test=False)
        return change if change is None or measure.metric.higher_is_better else change.reversed()


def _mean_of(differences: Sequence[Difference]) -> Measured:
    count = len(differences)
    value = sum(one.value for one in differences) / count
    variances = [(one.error / count) ** 2 for one in differences]
    total = sum(variances)
    if total <= 0:
        return value, value, value
    df = total**2 / sum(part**2 / one.df for part, one in zip(variances, differences, strict=True) if part > 0)
    centre = sum(one.centre for one in differences) / count
    half = t_quantile(0.5 + LEVEL / 2, df) * math.sqrt(total)
    return value, min(centre - half, value), max(centre + half, value)


def _same(change: PairedChange) -> bool:
    return change.method == "identical predictions"


def benchmark_warnings(comparisons: Sequence[BenchmarkComparison], arms: Sequence[str], baseline: str) -> list[str]:
    """What was lost for sure, what is missing, what was cut."""
    found = []
    for row in comparisons:
        if not row.primary:
            continue
        sign = 1 if row.higher_is_better else -1
        for arm, change in row.changes.items():
            worst = change.high if sign > 0 else change.low
            if change.value is not None and worst is not None and sign * worst < 0:
                found.append(
                    f"{arm} forgot: {row.name} fell by {abs(change.value):.3f} against {baseline} "
                    f"(95 % interval {change.low:+.3f} to {change.high:+.3f})."
                )
        missing = [arm for arm in arms if arm not in row.scores]
        if missing:
            found.append(f"Benchmark {row.name} was not measured on {', '.join(missing)}.")
        if row.truncated:
            found.append(f"Benchmark {row.name}: {row.truncated} contexts were cut on the left to fit the window.")
    return found
