"""Whole experiments by the thousand, for `make stress`: how often the verdict is wrong, right, and undecided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import special
from test_analysis_comparison import macro_f1, mean
from test_verdict import drawn, standing

from harness.analysis.comparison import compare
from harness.analysis.measure import Measure
from harness.analysis.power import planned_difference
from harness.analysis.rows import Decision, MetricInfo, RunRows, TrialRows

pytestmark = pytest.mark.slow


def experiment(tables: Sequence[np.ndarray], margin: float, groups: int | None = None) -> RunRows:
    """A run of one arm for each [items] table of right and wrong answers."""
    items = [f"i{place}" for place in range(len(tables[0]))]
    arms = [f"a{place}" for place in range(len(tables))]
    trials = [
        TrialRows(
            arm, 0, "done", {"accuracy": {item: {"value": float(v)} for item, v in zip(items, table, strict=True)}}
        )
        for arm, table in zip(arms, tables, strict=True)
    ]
    known = {item: None if groups is None else str(place // groups) for place, item in enumerate(items)}
    metrics, decision = [MetricInfo("accuracy", mean)], Decision(margin=margin)
    grouped = groups is not None
    return RunRows({}, arms, arms[0], known, metrics, "accuracy", trials, decision=decision, grouped=grouped)


@pytest.mark.parametrize("groups", [None, 4])
def test_six_equal_arms_falsely_win_in_at_most_5_percent(groups: int | None) -> None:
    """1,000 experiments from rows to verdict, margin 0, which is the hardest; 100 items, single or in 25 groups of
    four. 5 % by theory, 6 % observed."""
    generator = np.random.default_rng(41)
    codes = None if groups is None else np.arange(100) // groups
    wins = [
        compare(experiment(drawn(generator, [0.5] * 6, 100, 0.4, codes), 0.0, groups)).verdict.outcome == "win"
        for _ in range(1000)
    ]
    assert np.mean(wins) <= 0.06


def test_the_announced_difference_is_found() -> None:
    """80 % by plan, 77 % observed; 1,000 experiments. Arms disagree on 30 % of items, as the plan assumes, or less."""
    generator = np.random.default_rng(42)
    ahead = planned_difference(200, 6, 0.02)
    assert ahead is not None
    rates = [0.5 - ahead / 2] * 5 + [0.5 + ahead / 2]
    wins = [standing(drawn(generator, rates, 200, 0.6)).winner(0.02) == "a5" for _ in range(1000)]
    assert np.mean(wins) >= 0.77


def test_equal_arms_tie_at_4000_items() -> None:
    generator = np.random.default_rng(43)
    ties = [
        compare(experiment(drawn(generator, [0.4] * 6, 4000, 0.5), 0.05)).verdict.outcome == "tie" for _ in range(100)
    ]
    assert np.mean(ties) >= 0.99


@pytest.mark.parametrize("items", [60, 200])
def test_intervals_of_a_metric_that_is_no_mean_cover(items: int) -> None:
    """Macro-F1 over four labels, whose records are resampled; 400 experiments, so +-2.2 points of sampling error."""
    generator = np.random.default_rng(44)
    labels = 4

    def records(count: int) -> dict[str, Any]:
        gold = generator.integers(0, labels, count)
        right = generator.random(count) < special.expit(0.4 + 0.4 * gold)
        said = np.where(right, gold, generator.integers(0, labels, count))
        return {f"i{n}": {"gold": int(g), "predicted": int(s)} for n, (g, s) in enumerate(zip(gold, said, strict=True))}

    truth = macro_f1(list(records(400_000).values()))
    assert truth is not None
    info = MetricInfo("macro_f1", macro_f1, mean=False)
    names = [f"i{n}" for n in range(items)]
    inside = []
    for _ in range(400):
        trial = TrialRows("a", 0, "done", {"macro_f1": records(items)})
        found = Measure(info, {"a": [trial]}, names, None).interval("a")
        assert found.low is not None and found.high is not None
        inside.append(found.low <= truth <= found.high)
    assert 0.935 - 0.022 <= np.mean(inside) <= 0.975 + 0.022
