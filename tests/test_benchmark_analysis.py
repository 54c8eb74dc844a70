"""Benchmarks in the analysis and the store: paired changes, groups, forgetting, and what a limit makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.analysis.benchmarks import Benchmarks, benchmark_warnings
from harness.analysis.comparison import compare
from harness.analysis.rows import BenchmarkRows, Decision, MetricInfo, RunRows, TrialRows
from harness.report import columns
from harness.store import NewRun, NewTrial, open_store
from harness.store.queries import run_rows
from harness.types import BenchmarkItem, BenchmarkResult, Example, Query

ITEMS = 200


def right(seed: int, share: float, count: int = ITEMS) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).random(count) < share]


def row(task: str, model: str, values: list[float], **changes: object) -> BenchmarkRows:
    items = {str(number): value for number, value in enumerate(values)}
    fields = {"group": task, "metric": "acc", "value": float(np.mean(values)), "primary": True, **changes}
    return BenchmarkRows(task=task, items=items, model_key=model, **fields)  # type: ignore[arg-type]


def trial(arm: str, *rows: BenchmarkRows, seed: int = 0) -> TrialRows:
    records = {"f1": {f"i{n}": {"value": 0.5} for n in range(60)}}
    return TrialRows(arm, seed, "done", records=records, benchmarks=rows, prediction_digest=arm)


def benchmarks(*trials: TrialRows) -> Benchmarks:
    arms: dict[str, list[TrialRows]] = {}
    for one in trials:
        arms.setdefault(one.arm, []).append(one)
    return Benchmarks(arms, trials[0].arm)


def run(limits: Mapping[str, float], *trials: TrialRows) -> RunRows:
    return RunRows(
        run={},
        arms=list(dict.fromkeys(one.arm for one in trials)),
        baseline=trials[0].arm,
        items={f"i{n}": None for n in range(60)},
        metrics=[MetricInfo("f1", lambda records: None)],
        primary_metric="f1",
        trials=trials,
        decision=Decision(limits=limits),
    )


def test_a_change_is_paired_by_item() -> None:
    base, tuned = right(1, 0.6), right(1, 0.6)
    for item in range(0, 40, 2):
        tuned[item] = 1 - tuned[item]
    found = benchmarks(trial("base", row("arc", "m", base)), trial("lora", row("arc", "m2", tuned))).comparisons()
    change = found[0].changes["lora"]
    better = sum(b < t for b, t in zip(base, tuned, strict=True))
    worse = sum(b > t for b, t in zip(base, tuned, strict=True))
    assert (change.better, change.worse, change.n) == (better, worse, ITEMS)
    assert change.value == pytest.approx((better - worse) / ITEMS)
    assert change.p == pytest.approx(stats.binomtest(better, better + worse).pvalue)
    assert found[0].scores["base"].value == pytest.approx(np.mean(base))


def test_the_same_model_is_equal_by_construction_and_no_test() -> None:
    values = right(2, 0.5)
    found = benchmarks(
        trial("base", row("arc", "m", values)),
        trial("rag", row("arc", "m", values)),
        trial("lora", row("arc", "m2", right(3, 0.5))),
    ).comparisons()[0]
    assert (found.changes["rag"].value, found.changes["rag"].p_adjusted) == (0.0, None)
    assert found.changes["lora"].p_adjusted == pytest.approx(found.changes["lora"].p)


def test_tasks_of_a_group_count_together_and_alone() -> None:
    sizes = {"mmlu_a": 30, "mmlu_b": 90}

    def rows(model: str, share: float) -> list[BenchmarkRows]:
        return [row(task, model, right(n, share, size), group="mmlu") for n, (task, size) in enumerate(sizes.items())]

    found = {
        one.name: one for one in benchmarks(trial("a", *rows("m", 0.5)), trial("b", *rows("n", 0.9))).comparisons()
    }
    assert set(found) == {"mmlu", "mmlu_a", "mmlu_b"}
    assert found["mmlu"].primary and not found["mmlu_a"].primary
    assert (found["mmlu"].n, found["mmlu"].tasks) == (120, 2)
    parts = [found[task].scores["b"].value or 0.0 for task in sizes]
    assert found["mmlu"].scores["b"].value == pytest.approx((30 * parts[0] + 90 * parts[1]) / 120)


def test_what_is_no_mean_of_items_has_a_value_and_no_change() -> None:
    rows = [
        row("wiki", "a", [1.0, 2.0], mean=False, metric="perplexity", value=5.0),
        row("wiki", "b", [1.0, 2.0], mean=False, metric="perplexity", value=6.0),
    ]
    found = benchmarks(trial("a", rows[0]), trial("b", rows[1]))
    assert found.comparisons()[0].scores["b"].value == 6.0 and found.comparisons()[0].changes == {}
    assert found.forgetting() == {}


@pytest.mark.parametrize(("share", "state"), [(0.30, "violated"), (0.62, "met"), (0.54, "unknown")])
def test_forgetting_excludes_an_arm_only_where_it_is_shown(share: float, state: str) -> None:
    base = [row("arc", "m", right(4, 0.6)), row("hella", "m", right(5, 0.6))]
    tuned = [row("arc", "n", right(6, share)), row("hella", "n", right(7, share))]
    comparison = compare(run({"forgetting": 0.08}, trial("base", *base), trial("lora", *tuned)))
    states = {check.arm: check for check in comparison.limits}
    assert states["base"].state == "met" and (states["base"].value, states["base"].high) == (0, 0)
    assert states["lora"].state == state, states["lora"]
    assert ("lora" in comparison.verdict.excluded) == (state == "violated")


def test_forgetting_covers_the_true_drop() -> None:
    """Two benchmarks, 400 simulated runs, true mean drop 0.1."""
    covered = 0
    for number in range(400):
        generator = np.random.default_rng(number)
        rows: dict[str, list[BenchmarkRows]] = {"a": [], "b": []}
        for task in ("arc", "hella"):
            luck = generator.random(100)
            rows["a"].append(row(task, "m", [float(value < 0.6) for value in luck]))
            other = np.where(generator.random(100) < 0.5, luck, generator.random(100))
            rows["b"].append(row(task, "n", [float(value < 0.5) for value in other]))
        _, low, high = benchmarks(trial("a", *rows["a"]), trial("b", *rows["b"])).forgetting()["b"]
        assert low is not None and high is not None
        covered += low <= 0.1 <= high
    assert covered >= 0.93 * 400


def test_forgetting_is_unknown_where_a_benchmark_is_missing() -> None:
    found = benchmarks(
        trial("a", row("arc", "m", right(1, 0.5)), row("hella", "m", right(2, 0.5))),
        trial("b", row("arc", "n", right(3, 0.5))),
    )
    assert set(found.forgetting()) == {"a"}
    warnings = benchmark_warnings(found.comparisons(), ["a", "b"], "a")
    assert warnings == ["Benchmark hella was not measured on b."]


def test_lower_is_better_is_turned_round() -> None:
    low = [value * 2 for value in right(8, 0.1)]
    high = [value * 2 for value in right(9, 0.9)]
    options = {"higher_is_better": False, "metric": "loss"}
    found = benchmarks(trial("a", row("t", "m", low, **options)), trial("b", row("t", "n", high, **options)))
    value, least, _ = found.forgetting()["b"]
    assert value is not None and least is not None and least > 1
    assert "b forgot" in benchmark_warnings(found.comparisons(), ["a", "b"], "a")[0]


def test_the_report_has_a_column_for_each_named_benchmark() -> None:
    base, tuned = row("arc", "m", right(1, 0.7)), row("arc", "n", right(2, 0.4))
    comparison = compare(run({}, trial("base", base), trial("lora", tuned), trial("rag", base)))
    found = columns.benchmarks(comparison)
    assert [column.header for column in found] == ["arc\nacc", "change"]
    assert found[1].cells[0] == "baseline" and found[1].cells[1].startswith("−") and found[1].cells[2] == "="
    assert any("lora forgot: arc fell by" in warning for warning in comparison.warnings)


def test_results_belong_to_a_model_and_to_the_run_that_names_their_task(tmp_path: Path) -> None:
    with open_store(tmp_path / "harness.db") as store:
        store.save_items("t", "csv", {"test": [Example(Query("q", {}), ("x",))]})
        versions = {"metrics": {"f1": "1"}, "classifiers": {}, "benchmarks": {"arc": "k1", "gone": "k9"}}
        run_id = store.begin_run(NewRun("k", "r", "t", "a", "f1", ["a", "b"], score_versions=versions))
        for index, arm in enumerate("ab"):
            trial_id = store.begin_trial(NewTrial(f"p{arm}", f"a{arm}", arm, 0))
            store.link_trial(run_id, trial_id, arm, index, 0)
            store.set_model_key(trial_id, "m")
        items = (BenchmarkItem("0", 1.0), BenchmarkItem("1", None))
        result = BenchmarkResult("arc", "arc", "acc", 1.0, True, 2, 5, items, primary=True, truncated=3)
        for key in ("k1", "k2"):  # the same task with another limit is another key
            store.add_benchmark("m", key, [result])
        store.add_benchmark("m", "k1", [result])
        assert store.benchmarked("m", ["k1", "k2", "k3"]) == {"k1", "k2"}
        assert store.benchmarked("other", ["k1"]) == set()
        trials = run_rows(store, run_id, [MetricInfo("f1", lambda records: None)]).trials
    for one in trials:
        (found,) = one.benchmarks
        assert found.items == {"0": 1.0, "1": None} and found.model_key == "m"
        assert (found.value, found.shots, found.truncated, found.primary) == (1.0, 5, 3, True)
