"""`compare` as a whole: bad input, seeds, several metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparison import compare
from harness.analysis.rows import Decision, MetricInfo, Prices, RunRows, TrialRows
from harness.types import LedgerEntry


def mean(records: Sequence[Any]) -> float | None:
    values = [record["value"] for record in records if record["value"] is not None]
    return sum(values) / len(values) if values else None


def macro_f1(records: Sequence[Any]) -> float | None:
    labels = {record["gold"] for record in records} | {record["predicted"] for record in records}
    gold, said, hits = (dict.fromkeys(labels, 0) for _ in range(3))
    for record in records:
        gold[record["gold"]] += 1
        said[record["predicted"]] += 1
        hits[record["gold"]] += record["gold"] == record["predicted"]
    return sum(2 * hits[label] / (gold[label] + said[label]) for label in labels) / len(labels) if labels else None


METRICS = (
    MetricInfo("accuracy", mean),
    MetricInfo("token_f1", mean),
    MetricInfo("words", mean, higher_is_better=False, low=0.0, high=None),
    MetricInfo("macro_f1", macro_f1, mean=False),
)


def build(
    arms: int = 3, items: int = 60, seeds: int = 1, grouped: bool = False, primary: str = "accuracy", **more: Any
) -> RunRows:
    generator = np.random.default_rng(31)
    names = [f"i{i}" for i in range(items)]
    trials = []
    for arm in range(arms):
        for seed in range(seeds):
            right, gold = generator.random(items) < 0.3 + 0.5 * arm / arms, generator.integers(0, 12, items)
            records: dict[str, dict[str, Any]] = {metric.name: {} for metric in METRICS}
            for i, name in enumerate(names):
                records["accuracy"][name] = {"value": float(right[i])}
                records["token_f1"][name] = {"value": float(right[i]) or float(generator.random())}
                records["words"][name] = {"value": float(generator.integers(1, 9))}
                records["macro_f1"][name] = {"gold": int(gold[i]), "predicted": int(gold[i] if right[i] else 0)}
            ledger = [
                LedgerEntry("train", "wall_s", 10.0 * arm, "s"),
                LedgerEntry("train", "seen_tokens", 1000.0 * arm, "tokens"),
                LedgerEntry("predict", "wall_s", 3.0, "s"),
            ]
            categories = {name: "correct" if ok else "wrong_answer" for name, ok in zip(names, right, strict=True)}
            trials.append(
                TrialRows(
                    f"arm{arm}",
                    seed,
                    "done",
                    records,
                    categories,
                    dict.fromkeys(names, (50, 5)),
                    list(0.2 + 0.1 * generator.random(20)),
                    ledger,
                    prediction_digest=f"{arm}/{seed}",
                    retrieval_hits=dict.fromkeys(names, True) if arm == 1 else {},
                    losses=[(step, 2.0 - 0.01 * step) for step in range(100)] if arm == 2 else (),
                )
            )
    settings: dict[str, Any] = {"prices": Prices(usd_per_hour=0.5), "decision": Decision(monthly_requests=1000), **more}
    groups = {name: f"g{i // 3}" if grouped else None for i, name in enumerate(names)}
    names_of_arms = [f"arm{arm}" for arm in range(arms)]
    return RunRows({"id": 1}, names_of_arms, "arm0", groups, METRICS, primary, trials, grouped=grouped, **settings)


def test_everything_is_there_and_json() -> None:
    found = compare(build())
    first, second, third = found.arms
    assert [arm.name for arm in found.arms] == ["arm0", "arm1", "arm2"]
    assert first.change is None and second.change is not None and second.change.p_adjusted is not None
    assert first.n == 60 and first.coverage == 1.0 and set(first.metrics) == {m.name for m in METRICS}
    for name in first.metrics:
        shown = first.metrics[name]
        assert shown.low is not None and shown.value is not None and shown.high is not None
        assert shown.low <= shown.value <= shown.high
    assert first.latency_s["p95"] is not None and 0.2 < first.latency_s["p95"] < 0.3
    assert first.retrieval_recall is None and second.retrieval_recall is not None
    assert second.retrieval_recall.value == 1.0 and second.retrieval_recall.low is not None
    assert third.loss is not None and third.loss[0] == pytest.approx(1.955) and third.loss[1] == pytest.approx(1.055)
    assert sum(first.errors.values()) == 60 and third.cost.train_usd == pytest.approx(20 / 3600 * 0.5)
    assert found.detectable_difference is not None and any("One seed" in warning for warning in found.warnings)
    assert json.loads(json.dumps(found.to_json()))["verdict"]["outcome"] == found.verdict.outcome


@pytest.mark.parametrize("primary", ["accuracy", "words", "macro_f1", "missing"])
@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("grouped", [False, True])
def test_any_metric_can_decide(primary: str, seeds: int, grouped: bool) -> None:
    found = compare(build(primary=primary, seeds=seeds, grouped=grouped))
    assert found.verdict.outcome in ("win", "tie", "insufficient")
    json.dumps(found.to_json(), allow_nan=False)
    if primary == "missing":
        assert found.verdict.outcome == "insufficient" and found.verdict.arm is None
    elif seeds > 1:
        assert found.arms[0].seed_spread is not None


@pytest.mark.parametrize("items", [0, 1, 2, 3])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("primary", ["accuracy", "macro_f1"])
def test_hardly_any_items(items: int, grouped: bool, primary: str) -> None:
    found = compare(build(items=items, grouped=grouped, primary=primary))
    assert found.verdict.outcome == "insufficient"
    json.dumps(found.to_json(), allow_nan=False)


def test_failed_pending_and_missing_arms() -> None:
    rows = build()
    trials = [
        rows.trials[0],
        TrialRows("arm1", 0, "failed", error="no memory"),
        TrialRows("arm2", 0, "pending"),
    ]
    found = compare(replace(rows, trials=trials, arms=[*rows.arms, "arm3"]))
    assert [arm.status for arm in found.arms] == ["done", "failed", "pending", "pending"]
    assert found.arms[1].error == "no memory" and found.arms[1].metrics == {} and found.arms[1].n == 0
    assert any("arm1: 1 of 1 trials failed" in warning for warning in found.warnings)
    without = compare(replace(rows, trials=rows.trials[1:]))
    assert without.arms[0].status == "pending" and without.arms[1].change is None
    assert any("baseline arm0 has no results" in warning for warning in without.warnings)
    assert compare(replace(rows, trials=[])).verdict.outcome == "insufficient"


def test_one_failed_seed_of_several_is_said() -> None:
    rows = build(seeds=3)
    trials = [t if (t.arm, t.seed) != ("arm1", 1) else TrialRows("arm1", 1, "failed", error="x") for t in rows.trials]
    arm = compare(replace(rows, trials=trials)).arms[1]
    assert arm.status == "done" and arm.seeds == (0, 2) and "1 of 3 seeds" in arm.notes[0] and arm.error == "x"


def test_no_common_items_and_metrics_missing_for_some() -> None:
    rows = build(arms=2)
    half = {f"i{i}" for i in range(30)}
    trials = []
    for trial, keep in zip(rows.trials, (True, False), strict=True):
        records = {m: {i: r for i, r in found.items() if (i in half) is keep} for m, found in trial.records.items()}
        if keep:
            records.pop("words")
        trials.append(replace(trial, records=records, categories={}))
    found = compare(replace(rows, trials=trials))
    assert found.arms[1].change is not None and found.arms[1].change.value is None
    assert "no item in common" in found.arms[1].change.note
    assert found.arms[0].metrics["words"].value is None and found.arms[0].metrics["words"].note
    assert found.verdict.outcome == "insufficient" and any("words could not" in w for w in found.warnings)
    everything = compare(replace(rows, trials=[replace(t, records={}) for t in rows.trials]))
    assert everything.verdict.outcome == "insufficient"


def test_values_that_are_none_or_nan_are_unknown_with_their_reason() -> None:
    rows = build(arms=2)
    unknown = {f"i{i}": {"value": None, "reason": "the judge was silent"} for i in range(60)}
    records = {**rows.trials[1].records, "token_f1": unknown}
    records["accuracy"] = {**records["accuracy"], "i3": {"value": float("nan")}}
    found = compare(replace(rows, trials=[rows.trials[0], replace(rows.trials[1], records=records)]))
    assert found.arms[1].metrics["token_f1"].note == "the judge was silent"
    assert found.arms[1].n == 59
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("price", [None, 0.0, -1.0, float("nan")])
def test_any_price(price: float | None) -> None:
    found = compare(build(prices=Prices(usd_per_hour=price), decision=Decision(monthly_requests=None, margin=0.9)))
    cost = found.arms[1].cost
    assert cost.usd_per_1k_requests == (0.0 if price == 0 else None)
    assert found.verdict.outcome == "tie" and found.verdict.arm is not None
    assert any("negative" in warning for warning in found.warnings) == (price is not None and price != 0)


def test_order_of_trials_and_items_does_not_matter() -> None:
    rows = build(grouped=True, seeds=2)
    turned = replace(rows, trials=rows.trials[::-1], items=dict(reversed(rows.items.items())))
    one, two = compare(rows), compare(turned)
    assert one.verdict.outcome == two.verdict.outcome and one.verdict.leader == two.verdict.leader
    for a, b in zip(one.arms, two.arms, strict=True):
        assert a.metrics["token_f1"].low == pytest.approx(b.metrics["token_f1"].low)


def test_advice_from_the_errors() -> None:
    rows = build(arms=2, decision=Decision(refreshes_per_month=2))
    spoken = {f"i{i}": "verbose" for i in range(60)}
    trials = [replace(rows.trials[0], categories=spoken), replace(rows.trials[1], losses=[(0, 1.0), (1, 2.0)])]
    advice = " ".join(compare(replace(rows, trials=trials)).advice)
    assert "behaviour gap" in advice and "did not fall" in advice and "refreshes a month" in advice
    misses = [rows.trials[0], replace(rows.trials[1], retrieval_hits={f"i{i}": i < 10 for i in range(60)})]
    assert "Retrieval finds the right document for 17%" in " ".join(compare(replace(rows, trials=misses)).advice)


def test_few_training_examples_are_said() -> None:
    rows = build()
    few = compare(replace(rows, run={"task": {"train": 30}})).advice
    assert any("Only 30 training examples" in line for line in few)
    enough = compare(replace(rows, run={"task": {"train": 500}})).advice
    assert not any("training examples" in line for line in (*enough, *compare(rows).advice))
