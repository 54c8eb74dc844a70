"""`compare`: the whole analysis of one run, from rows to one `Comparison`. Pure: no I/O, same rows, same result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.analysis.advice import advise
from harness.analysis.arrays import cluster_codes
from harness.analysis.benchmarks import Benchmarks, benchmark_warnings
from harness.analysis.choice import break_evens
from harness.analysis.curve import learning_curves
from harness.analysis.economics import arm_cost, search_ledger
from harness.analysis.intervals import SEEDS_TO_CROSS, wilson
from harness.analysis.limits import Measured, check_limits
from harness.analysis.measure import Measure
from harness.analysis.multiplicity import holm
from harness.analysis.paired import as_change
from harness.analysis.power import observed_difference
from harness.analysis.result import ArmCost, ArmResult, Comparison, Interval, LearningCurve, PairedChange, Search
from harness.analysis.rows import CurveRows, MetricInfo, RunRows, TrialRows
from harness.analysis.standing import Standing, build_standing
from harness.analysis.verdict import LEAST_COVERAGE, Case, decide, exclusions

FEW_ITEMS = 50


class Run:
    """One run, sorted: finished trials by arm and what was measured on them."""

    def __init__(self, rows: RunRows) -> None:
        self.rows = rows
        self.items = tuple(rows.items)
        self.codes = cluster_codes(list(rows.items.values())) if rows.grouped else None
        self.trials: dict[str, list[TrialRows]] = {arm: [] for arm in rows.arms}
        for trial in sorted(rows.trials, key=lambda trial: trial.seed):
            self.trials.setdefault(trial.arm, []).append(trial)
        finished = {arm: [t for t in trials if t.status == "done"] for arm, trials in self.trials.items()}
        self.done = {arm: trials for arm, trials in finished.items() if trials}
        metrics = {metric.name: metric for metric in rows.metrics}
        self.primary = metrics.get(rows.primary_metric) or MetricInfo(rows.primary_metric, lambda records: None)
        metrics.setdefault(self.primary.name, self.primary)
        self.measures = {name: Measure(m, self.done, self.items, self.codes) for name, m in metrics.items()}
        self.main = self.measures[self.primary.name]
        self.coverage = {arm: self._coverage(trials) for arm, trials in self.done.items()}
        self.costs = {arm: self._cost(arm) for arm in self.done}

    def _coverage(self, trials: Sequence[TrialRows]) -> float | None:
        """Share of the run's items that were answered and scored, the mean over trials."""
        if not self.items:
            return None
        every = set(self.items)
        shares = []
        for trial in trials:
            seen = set(trial.categories).union(*(records for records in trial.records.values()))
            shares.append(len(seen & every) / len(every))
        return float(np.mean(shares))

    def _cost(self, arm: str) -> ArmCost:
        score = self.main.score(arm)
        bounded = self.primary.higher_is_better and self.primary.low == 0 and self.primary.high == 1
        wrong = 1 - score if score is not None and bounded else None
        # Every trial carries the whole search: one-off costs are the mean over trials, and it was made once for all.
        extra = search_ledger(self.rows.search.get(arm, ()))
        trials = [replace(trial, ledger=[*trial.ledger, *extra]) for trial in self.done[arm]]
        return arm_cost(trials, self.rows.prices, self.rows.decision, wrong)

    def curves(self) -> tuple[LearningCurve, ...]:
        """Learning curves, each with the arm's own first trial as the point of all training examples."""
        whole = {}
        if self.rows.train is not None:
            seeds = {row.trial.arm: row.trial.seed for row in self.rows.curve}
            for arm, trials in self.done.items():
                if arm in seeds and trials[0].seed == seeds[arm]:
                    whole[arm] = CurveRows(self.rows.train, trials[0])
        return learning_curves(self.rows.curve, whole, self.primary, self.items, self.codes)


def compare(rows: RunRows) -> Comparison:
    """Every arm with intervals, paired change, errors, costs; limits; the verdict; what to be careful about."""
    run = Run(rows)
    changes = _changes(run)
    benchmarks = Benchmarks(run.done, rows.baseline)
    measured = _measured(rows, benchmarks)
    limits = check_limits(rows.decision.limits, run.done, run.costs, measured, len(run.items))
    excluded, by_limit = exclusions(run.coverage, limits)
    scored = {arm for arm in run.done if run.main.score(arm) is not None}
    unfinished = {arm: _why_unfinished(run, arm) for arm in run.trials if arm not in scored}
    excluded = {arm: why for arm, why in excluded.items() if arm in scored}
    standing = build_standing(run.main, [arm for arm in run.trials if arm in scored and arm not in excluded])
    case = Case(
        metric=run.primary.name,
        higher_is_better=run.primary.higher_is_better,
        items=len(run.items),
        standing=standing,
        costs=run.costs,
        decision=rows.decision,
        unfinished=unfinished,
        excluded=excluded,
        by_limit=by_limit & set(excluded),
        limits=limits,
    )
    arms = tuple(_arm(run, arm, changes.get(arm)) for arm in run.trials)
    compared = benchmarks.comparisons()
    return Comparison(
        run=rows.run,
        primary_metric=rows.primary_metric,
        baseline=rows.baseline,
        arms=arms,
        verdict=decide(case),
        detectable_difference=_detectable(standing, rows.decision.margin, run.main.span),
        warnings=(*_warnings(run, changes), *benchmark_warnings(compared, list(run.done), rows.baseline)),
        break_even=break_evens(run.costs, rows.decision),
        limits=limits,
        advice=advise(arms, rows),
        benchmarks=compared,
        curves=run.curves(),
    )


def _measured(rows: RunRows, benchmarks: Benchmarks) -> dict[str, dict[str, Measured]]:
    """What limits bound and neither costs nor predictions know: given rows first, then benchmarks."""
    found = {arm: {"forgetting": value} for arm, value in benchmarks.forgetting().items()}
    return {arm: {**found.get(arm, {}), **rows.measured.get(arm, {})} for arm in {*found, *rows.measured}}


def _changes(run: Run) -> dict[str, PairedChange]:
    baseline = run.rows.baseline
    if baseline not in run.done or run.main.score(baseline) is None:
        return {}
    changes = {
        arm: as_change(run.main.difference(arm, baseline))
        for arm in run.done
        if arm != baseline and run.main.score(arm) is not None
    }
    adjusted = holm([change.p for change in changes.values()])
    return {
        arm: PairedChange(**{**vars(change), "p_adjusted": p})
        for (arm, change), p in zip(changes.items(), adjusted, strict=True)
    }


def _detectable(standing: Standing, margin: float, span: float | None) -> float | None:
    """None too where no difference that the metric can show would be found."""
    if len(standing.arms) < 2:
        return None
    leader = standing.arms[0]
    found = [d for other in standing.arms[1:] if (d := standing.differences[leader, other]) is not None and d.error > 0]
    if not found:
        return None
    least = observed_difference([d.error for d in found], len(standing.arms), margin, min(d.df for d in found))
    return None if least is None or (span is not None and least > span) else least


def _why_unfinished(run: Run, arm: str) -> str:
    trials = run.trials[arm]
    failed = [trial for trial in trials if trial.status == "failed"]
    if arm in run.done:
        return f"it has no {run.primary.name}"
    if failed:
        return f"its trial failed ({_first_line(failed[0].error)})"
    return "it has not been run to the end" if trials else "it has not been run"


def _first_line(text: str | None) -> str:
    return (text or "no message").strip().splitlines()[0] if (text or "").strip() else "no message"


def _arm(run: Run, arm: str, change: PairedChange | None) -> ArmResult:
    trials = run.done.get(arm, [])
    seeds = tuple(trial.seed for trial in run.trials[arm])
    failed = [trial for trial in run.trials[arm] if trial.status == "failed"]
    error = failed[0].error or "failed without a message" if failed else None
    if not trials:
        status = "failed" if failed else "pending"
        latency = {"p50": None, "p95": None}
        search = _search(run, arm)
        return ArmResult(arm, status, 0, seeds, None, {}, None, {}, ArmCost(), latency, error=error, search=search)
    scores = run.main.seed_scores(arm)
    latencies = [value for trial in trials for value in trial.latencies_s]
    return ArmResult(
        name=arm,
        status="done",
        n=int(run.main.seen(arm).sum()),
        seeds=tuple(trial.seed for trial in trials),
        coverage=run.coverage[arm],
        metrics={name: measure.interval(arm) for name, measure in run.measures.items()},
        change=change,
        errors=dict(Counter(trials[0].categories.values()).most_common()),
        cost=run.costs[arm],
        latency_s={f"p{q}": float(np.percentile(latencies, q)) if latencies else None for q in (50, 95)},
        retrieval_recall=_recall(trials),
        loss=_losses(trials),
        seed_spread=(min(scores), max(scores)) if len(scores) > 1 else None,
        error=error,
        notes=tuple(_notes(run, arm, change)),
        search=_search(run, arm),
    )


def _search(run: Run, arm: str) -> Search | None:
    """What the arm's sweep found; None for an arm without one."""
    candidates = run.rows.search.get(arm, ())
    if not candidates:
        return None
    values = [candidate.value for candidate in candidates if candidate.value is not None]
    chosen = next((candidate for candidate in candidates if candidate.chosen), None)
    return Search(
        candidates=len(candidates),
        failed=sum(candidate.error is not None for candidate in candidates),
        settings=dict(chosen.settings) if chosen is not None else {},
        metric=candidates[0].metric,
        n=max(candidate.n for candidate in candidates),
        chosen=chosen.value if chosen is not None else None,
        low=min(values, default=None),
        high=max(values, default=None),
    )


def _recall(trials: Sequence[TrialRows]) -> Interval | None:
    """Share of items with a gold document among the passages, first seed (retrieval does not depend on the seed)."""
    hits = next((trial.retrieval_hits for trial in trials if trial.retrieval_hits), None)
    if not hits:
        return None
    share = sum(bool(hit) for hit in hits.values()) / len(hits)
    return Interval(share, *wilson(share, len(hits)))


def _losses(trials: Sequence[TrialRows]) -> tuple[float, float] | None:
    """Mean training loss of the first and of the last tenth of steps, over trials."""
    pairs = []
    for trial in trials:
        losses = [loss for _, loss in sorted(trial.losses)]
        if losses:
            tenth = max(len(losses) // 10, 1)
            pairs.append((float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))))
    return (float(np.mean([a for a, _ in pairs])), float(np.mean([b for _, b in pairs]))) if pairs else None


def _notes(run: Run, arm: str, change: PairedChange | None) -> list[str]:
    notes = []
    unfinished = [trial for trial in run.trials[arm] if trial.status != "done"]
    if unfinished:
        notes.append(
            f"{len(unfinished)} of {len(run.trials[arm])} seeds without a result; the figures are of the others"
        )
    coverage = run.coverage[arm]
    if coverage is not None and coverage < 1:
        notes.append(_missing_bounds(run, arm, coverage))
    if change is not None and change.method == "identical predictions":
        notes.append(f"predictions identical to those of {run.rows.baseline}")
    return notes


def _missing_bounds(run: Run, arm: str, coverage: float) -> str:
    note = f"{coverage:.1%} of the items were answered and scored"
    score, low, high = run.main.score(arm), run.primary.low, run.primary.high
    if score is None or low is None or high is None or not run.primary.mean or not run.items:
        return note
    here = float(run.main.seen(arm).sum()) / len(run.items)
    worst, best = (score * here + end * (1 - here) for end in (low, high))
    return f"{note}; {run.primary.name} would be {worst:.3f} with the rest all wrong, {best:.3f} all right"


def _warnings(run: Run, changes: Mapping[str, PairedChange]) -> list[str]:
    rows, found = run.rows, []
    seeds = {trial.seed for trial in rows.trials}
    if len(seeds) == 1:
        found.append("One seed: differences between arms may in part be luck of training; run three or more to see it.")
    elif 1 < len(seeds) < SEEDS_TO_CROSS:
        found.append(f"{len(seeds)} seeds: intervals hold for these seeds; their spread is shown beside each score.")
    if 0 < len(run.items) < FEW_ITEMS:
        found.append(f"Only {len(run.items)} test items: only large differences can be seen.")
    if run.codes is not None and len(set(run.codes.tolist())) < 20:
        found.append(f"Only {len(set(run.codes.tolist()))} groups of items: intervals are wide and approximate.")
    for arm, trials in run.trials.items():
        failed = [trial for trial in trials if trial.status == "failed"]
        if failed:
            found.append(f"{arm}: {len(failed)} of {len(trials)} trials failed ({_first_line(failed[0].error)}).")
        if not trials or any(trial.status not in ("done", "failed") for trial in trials):
            found.append(f"{arm}: not all trials have been run.")
    for arm, share in run.coverage.items():
        if share is not None and share < LEAST_COVERAGE:
            found.append(
                f"{arm}: {share:.1%} of the items were answered and scored; below {LEAST_COVERAGE:.0%} it cannot win."
            )
    if rows.baseline not in run.done:
        found.append(f"The baseline {rows.baseline} has no results, so no change against it is shown.")
    for arm, change in changes.items():
        if change.value is None:
            found.append(f"{arm} and {rows.baseline}: {change.note}.")
    for name, measure in run.measures.items():
        without = [arm for arm in run.done if measure.score(arm) is None]
        if without:
            found.append(f"{name} could not be computed for {', '.join(without)}.")
    return found + _price_warnings(run)


def _price_warnings(run: Run) -> list[str]:
    prices = vars(run.rows.prices)
    bad = [name for name, value in prices.items() if value is not None and not value >= 0]
    found = [f"The price {name} is negative or not a number and was treated as unknown." for name in bad]
    if all(value is None for value in prices.values()):
        found.append("No price was given, so costs in money are unknown; ties are decided by machine time.")
    else:
        partly = [arm for arm, cost in run.costs.items() if cost.lower_bounds]
        if partly:
            found.append(f"Costs of {', '.join(partly)} have unknown parts: they are lower bounds.")
    return found
