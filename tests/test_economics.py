"""Costs: the golden case, unknown parts, break-even volumes, the cheapest of several."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.choice import break_even, break_evens, cheapest
from harness.analysis.economics import arm_cost
from harness.analysis.limits import check_limit, observed, quantile_band
from harness.analysis.result import ArmCost
from harness.analysis.rows import Decision, Prices, TrialRows
from harness.types import LedgerEntry


def entry(phase: str, quantity: str, value: float | None) -> LedgerEntry:
    return LedgerEntry(phase, quantity, value, "", "measured" if value is not None else "unknown")  # type: ignore[arg-type]


def trial(*ledger: LedgerEntry, seed: int = 0, tokens: tuple[int, int] = (50, 0), items: int = 10) -> TrialRows:
    return TrialRows("arm", seed, "done", tokens={f"i{i}": tokens for i in range(items)}, ledger=ledger)


GOLDEN = Prices(usd_per_1k_train_tokens=0.04, usd_per_1k_input_tokens=0.04)


def test_the_golden_case() -> None:
    rows = [trial(entry("train", "trained_tokens", 500_000))]
    cost = arm_cost(rows, GOLDEN, Decision(monthly_requests=100_000, horizon_months=12, refreshes_per_month=1))
    assert cost.train_usd == pytest.approx(20)
    assert cost.usd_per_month == pytest.approx(200)
    assert cost.usd_per_1k_requests == pytest.approx(2)
    assert cost.one_off_usd == pytest.approx(20)
    assert cost.usd_over_horizon == pytest.approx(20 * 13 + 200 * 12)
    assert cost.lower_bounds == ()


def test_training_is_billed_by_tokens_seen_where_the_ledger_has_them() -> None:
    rows = [trial(entry("train", "trained_tokens", 100.0), entry("train", "seen_tokens", 500_000.0))]
    cost = arm_cost(rows, GOLDEN, Decision())
    assert cost.train_usd == pytest.approx(20) and cost.trained_tokens == 100


def test_one_off_costs_are_the_mean_over_seeds() -> None:
    rows = [trial(entry("train", "trained_tokens", 1000.0 * (i + 1)), seed=i) for i in range(3)]
    assert arm_cost(rows, GOLDEN, Decision()).train_usd == pytest.approx(0.08)


def test_a_machine_by_the_hour() -> None:
    rows = [trial(entry("prepare", "wall_s", 36), entry("train", "wall_s", 7200), entry("predict", "wall_s", 3.6))]
    cost = arm_cost(rows, Prices(usd_per_hour=0.5), Decision())
    assert cost.prepare_usd == pytest.approx(0.005) and cost.train_usd == pytest.approx(1.0)
    assert cost.usd_per_1k_requests == pytest.approx(0.05) and cost.seconds_per_1k_requests == pytest.approx(360)
    assert cost.usd_per_month is None and cost.lower_bounds == ()


def test_no_price_is_unknown_and_not_free() -> None:
    cost = arm_cost([trial(entry("train", "wall_s", 5))], Prices(), Decision(monthly_requests=10))
    assert (cost.usd_per_1k_requests, cost.train_usd, cost.usd_per_month, cost.usd_over_horizon) == (None,) * 4
    assert cost.train_wall_s == 5 and cost.lower_bounds == ()


def test_a_price_of_zero_is_free() -> None:
    cost = arm_cost([trial()], Prices(usd_per_1k_input_tokens=0.0, usd_per_1k_output_tokens=0.0), Decision())
    assert cost.usd_per_1k_requests is None or cost.usd_per_1k_requests == 0  # no ledger at all
    rows = [trial(entry("predict", "wall_s", 1.0))]
    assert arm_cost(rows, Prices(usd_per_1k_input_tokens=0.0), Decision()).usd_per_1k_requests == 0.0


def test_an_unknown_part_makes_a_lower_bound() -> None:
    rows = [trial(entry("predict", "wall_s", 1.0), entry("train", "trained_tokens", 10.0), tokens=(50, 10))]
    cost = arm_cost(rows, Prices(usd_per_1k_input_tokens=0.04), Decision(monthly_requests=1000))
    assert cost.usd_per_1k_requests == pytest.approx(2.0) and "usd_per_1k_requests" in cost.lower_bounds
    assert cost.train_usd is None and cost.one_off_usd is None  # no price for training: unknown, not 0
    assert {"usd_per_month", "usd_over_horizon"} <= set(cost.lower_bounds)
    assert cost.usd_per_1k_high is None
    late = [trial(entry("predict", "wall_s", 3.0), entry("predict", "wall_s", None))]
    resumed = arm_cost(late, Prices(usd_per_hour=1.0), Decision())
    assert "usd_per_1k_requests" in resumed.lower_bounds and resumed.predict_wall_s is None


def test_an_empty_ledger_is_unknown_and_a_phase_that_did_not_happen_is_not() -> None:
    assert arm_cost([trial()], Prices(usd_per_hour=1), Decision()).train_usd is None
    assert arm_cost([trial(entry("predict", "wall_s", 1))], Prices(usd_per_hour=1), Decision()).train_usd == 0
    assert arm_cost([], Prices(usd_per_hour=1), Decision()) == ArmCost()


def test_bad_prices_are_unknown() -> None:
    rows = [trial(entry("predict", "wall_s", 1.0))]
    assert arm_cost(rows, Prices(usd_per_hour=-1.0), Decision()).usd_per_1k_requests is None
    assert arm_cost(rows, Prices(usd_per_hour=float("nan")), Decision()).usd_per_1k_requests is None


def test_search_hosting_errors_and_cached_tokens() -> None:
    rows = [
        trial(
            entry("train", "trained_tokens", 1000.0),
            entry("train", "search_trained_tokens", 2000.0),
            entry("predict", "cached_tokens", 400.0),
        )
    ]
    prices = Prices(
        usd_per_1k_train_tokens=1.0,
        usd_per_1k_input_tokens=1.0,
        usd_per_1k_cached_tokens=0.5,
        usd_hosting_per_month=7.0,
        usd_per_error=0.1,
    )
    cost = arm_cost(rows, prices, Decision(monthly_requests=1000), error_rate=0.25)
    assert (
        cost.train_usd == pytest.approx(1)
        and cost.search_usd == pytest.approx(2)
        and cost.one_off_usd == pytest.approx(3)
    )
    assert cost.usd_per_1k_requests == pytest.approx(10 * 1.0 + 40 * 0.5)  # 40 of 50 tokens were cached
    assert cost.usd_per_month == pytest.approx(37) and cost.usd_of_errors_per_1k == pytest.approx(25)


def priced(one_off: float | None, per_1k: float | None, **more: object) -> ArmCost:
    return ArmCost(one_off_usd=one_off, usd_per_1k_requests=per_1k, **more)  # type: ignore[arg-type]


def test_break_even() -> None:
    costs = {"rag": priced(0.0, 3.0), "lora": priced(120.0, 1.0), "dear": priced(500.0, 4.0)}
    found = break_even("rag", "lora", costs, Decision(horizon_months=12))
    assert found is not None and (found.below, found.above) == ("rag", "lora")
    assert found.requests_per_month == pytest.approx(5000)  # 120 / 12 months = 10 a month = 5,000 x (3 - 1) / 1,000
    assert break_even("lora", "rag", costs, Decision(horizon_months=12)) == found
    assert break_even("rag", "dear", costs, Decision()) is None
    often = break_even("rag", "lora", costs, Decision(horizon_months=12, refreshes_per_month=1))
    assert often is not None and often.requests_per_month == pytest.approx(13 * 5000)
    assert len(break_evens(costs, Decision())) == 1
    unknown = {"a": priced(None, 1.0), "b": priced(1.0, 2.0)}
    assert break_even("a", "b", unknown, Decision()) is None


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e4), st.floats(0.01, 100), st.floats(0.01, 100))
def test_at_break_even_both_cost_the_same(fixed1: float, fixed2: float, price1: float, price2: float) -> None:
    costs = {"a": priced(fixed1, price1), "b": priced(fixed2, price2)}
    found = break_even("a", "b", costs, Decision(horizon_months=6, refreshes_per_month=0.5))
    if found is not None:
        bills = [
            4 * costs[n].one_off_usd + 6 * found.requests_per_month / 1000 * costs[n].usd_per_1k_requests for n in "ab"
        ]  # type: ignore[operator]
        assert bills[0] == pytest.approx(bills[1], rel=1e-6)


def test_the_band_comes_from_the_spread_of_tokens() -> None:
    costs = {
        "a": priced(0.0, 3.0, usd_per_1k_low=2.5, usd_per_1k_high=3.5),
        "b": priced(12.0, 1.0, usd_per_1k_low=0.8, usd_per_1k_high=1.2),
    }
    found = break_even("a", "b", costs, Decision(horizon_months=12))
    assert found is not None and found.low is not None and found.high is not None
    assert found.requests_per_month == pytest.approx(500)
    assert found.low < 500 < found.high


def test_the_cheapest_with_equal_unknown_and_partly_known_costs() -> None:
    assert cheapest({"a": priced(0, 2.0), "b": priced(0, 1.0)}).order == ("b", "a")
    equal = cheapest(
        {"a": priced(0, 1.0, seconds_per_1k_requests=9.0), "b": priced(0, 1.0, seconds_per_1k_requests=5.0)}
    )
    assert equal.arm == "b"
    partly = cheapest({"a": priced(0, 2.0), "b": priced(0, 1.0, lower_bounds=("usd_per_1k_requests",))})
    assert partly.arm == "a" and "b costs at least $1.00" in partly.doubts[0]
    blank = cheapest({"a": priced(0, None), "b": priced(0, 5.0)})
    assert blank.arm == "b" and "unknown" in blank.doubts[0]
    nothing = cheapest({"a": ArmCost(seconds_per_1k_requests=3.0), "b": ArmCost(seconds_per_1k_requests=2.0)})
    assert nothing.arm == "b" and "no price" in nothing.basis
    assert cheapest({"a": ArmCost(), "b": ArmCost()}).order == ("a", "b")


def test_limits_have_three_states() -> None:
    assert check_limit("a", "x", 2.0, (3.0, 2.5, 3.5)).state == "violated"
    assert check_limit("a", "x", 2.0, (1.0, 0.5, 1.5)).state == "met"
    assert check_limit("a", "x", 2.0, (2.1, 1.9, 2.5)).state == "unknown"
    assert check_limit("a", "x", 2.0, (None, None, None)).state == "unknown"
    assert observed("forgetting", [], ArmCost(), 10)[0] == (None, None, None)
    assert observed("memory_bytes", [], ArmCost(peak_memory_bytes=5.0), 10)[0] == (5.0, 5.0, 5.0)
    refusing = TrialRows("a", 0, "done", categories={f"i{i}": "refusal" if i < 5 else "correct" for i in range(10)})
    share, low, high = observed("refusal", [refusing], ArmCost(), 10)[0]
    assert share == 0.5 and low is not None and high is not None and low < 0.5 < high


def test_latency_quantiles() -> None:
    values = [0.1 + 0.001 * i for i in range(20)]
    value, low, high = quantile_band(values, 0.95)
    assert value is not None and low is not None and high is not None and low < value < high < 0.2
    assert quantile_band([], 0.95) == (None, None, None)
    assert quantile_band([0.3], 0.95)[2] is None
    many = quantile_band([float(i) for i in range(1, 1001)], 0.5)
    assert many[1] == 469.0 and many[2] == 532.0  # binomial ranks for the median of 1,000


def test_physical_quantities_are_per_request_and_unknown_without_rows() -> None:
    rows = (
        entry("train", "flops", 6e12),
        entry("train", "energy_j", 7200.0),
        entry("predict", "flops", 2e12),
        entry("predict", "energy_j", 36.0),
        entry("predict", "cpu_s", 5.0),
        entry("predict", "gpu_s", 0.0),
    )
    cost = arm_cost([trial(*rows)], Prices(), Decision())
    assert (cost.flops_per_request, cost.train_flops) == (2e11, 6e12)
    assert cost.energy_wh_per_1k_requests == pytest.approx(1.0) and cost.train_energy_wh == pytest.approx(2.0)
    assert (cost.cpu_s_per_1k_requests, cost.gpu_s_per_1k_requests) == (500.0, 0.0)
    bare = arm_cost([trial(entry("predict", "wall_s", 1.0))], Prices(), Decision())
    assert bare.flops_per_request is None and bare.energy_wh_per_1k_requests is None and bare.train_energy_wh is None
    torn = arm_cost([trial(*rows, entry("predict", "energy_j", None))], Prices(), Decision())
    assert torn.energy_wh_per_1k_requests is None and torn.train_energy_wh == pytest.approx(2.0)
