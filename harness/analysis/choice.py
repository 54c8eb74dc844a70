"""Which of several arms is the cheapest, honestly with unknown costs, and at which volumes that changes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis.result import ArmCost, BreakEven
from harness.analysis.rows import Decision

UNORDERED = "nothing: neither prices nor times are known, so the file's order is kept"
EQUAL = 1e-9  # relative difference below which two costs are the same


@dataclass(frozen=True)
class Cheapest:
    """`order`: cheapest first. `basis`: what it was ordered by. `doubts`: arms that might be cheaper, and why."""

    order: tuple[str, ...]
    basis: str
    doubts: tuple[str, ...] = ()

    @property
    def arm(self) -> str:
        return self.order[0]


def deciding_cost(costs: Sequence[ArmCost]) -> tuple[str, str]:
    """The widest cost that is known for at least one arm: (field, words)."""
    for field, words in (
        ("usd_over_horizon", "cost over the horizon"),
        ("usd_per_1k_requests", "cost per 1,000 requests"),
        ("one_off_usd", "one-off cost"),
    ):
        if any(getattr(cost, field) is not None for cost in costs):
            return field, words
    return "", "machine time"


def seconds_of(cost: ArmCost) -> tuple[float, float]:
    """Order by time: seconds per 1,000 requests, then seconds to build; unknown comes last."""
    build = [part for part in (cost.prepare_wall_s, cost.train_wall_s) if part is not None]
    per_1k = cost.seconds_per_1k_requests
    return (math.inf if per_1k is None else per_1k, sum(build) if build else math.inf)


def cheapest(costs: Mapping[str, ArmCost]) -> Cheapest:
    """Known costs first, by amount; arms that cost the same by seconds; lower bounds after them, with the doubt."""
    field, words = deciding_cost(list(costs.values()))
    if not field:
        order = tuple(sorted(costs, key=lambda name: seconds_of(costs[name])))
        if all(math.isinf(seconds_of(cost)[0]) for cost in costs.values()):
            return Cheapest(order, UNORDERED)
        return Cheapest(order, "machine time, because no price is known")

    def known(name: str) -> bool:
        return getattr(costs[name], field) is not None and field not in costs[name].lower_bounds

    amounts = {name: getattr(costs[name], field) for name in costs}
    ordered = sorted((n for n in costs if known(n)), key=lambda n: amounts[n])
    sure = _by_seconds_where_equal(ordered, amounts, costs)
    bounds = sorted((n for n in costs if not known(n) and amounts[n] is not None), key=lambda n: amounts[n])
    blank = [name for name in costs if amounts[name] is None]
    doubts = []
    if sure:
        best = amounts[sure[0]]
        doubts = [f"{n} costs at least ${amounts[n]:,.2f}, and a part is unknown" for n in bounds if amounts[n] < best]
    elif bounds:
        doubts = ["no arm's cost is known in full; the lowest lower bound was taken"]
    doubts += [f"the cost of {name} is unknown" for name in blank]
    return Cheapest((*sure, *bounds, *blank), words, tuple(doubts))


def _by_seconds_where_equal(
    ordered: Sequence[str], amounts: Mapping[str, float], costs: Mapping[str, ArmCost]
) -> tuple[str, ...]:
    result: list[str] = []
    tied: list[str] = []
    for name in ordered:
        if tied and not math.isclose(amounts[name], amounts[tied[0]], rel_tol=EQUAL, abs_tol=1e-12):
            result += sorted(tied, key=lambda n: seconds_of(costs[n]))
            tied = []
        tied.append(name)
    return (*result, *sorted(tied, key=lambda n: seconds_of(costs[n])))


def fixed_cost(cost: ArmCost, decision: Decision) -> float | None:
    """What an arm costs over the horizon before its first request; hosting is the same for all and left out."""
    if cost.one_off_usd is None or "one_off_usd" in cost.lower_bounds:
        return None
    return cost.one_off_usd * (1 + decision.refreshes_per_month * decision.horizon_months)


def break_even(first: str, second: str, costs: Mapping[str, ArmCost], decision: Decision) -> BreakEven | None:
    """The monthly volume at which two arms cost the same over the horizon:
    V = (fixed_b - fixed_a) / (horizon x (price_a - price_b)). None when one of them is cheaper at every volume or a
    cost is not known in full. The band takes both prices per request to the ends of their bands."""
    one, two = costs[first], costs[second]
    fixed = fixed_cost(one, decision), fixed_cost(two, decision)
    prices = one.usd_per_1k_requests, two.usd_per_1k_requests
    if fixed[0] is None or fixed[1] is None or prices[0] is None or prices[1] is None:
        return None
    if "usd_per_1k_requests" in (*one.lower_bounds, *two.lower_bounds) or decision.horizon_months <= 0:
        return None
    if prices[0] < prices[1]:
        return break_even(second, first, costs, decision)
    gap = fixed[1] - fixed[0]  # the second is cheaper per request; it must pay this back
    saving = prices[0] - prices[1]
    if gap <= 0 or saving <= 0:
        return None
    scale = 1000 * gap / decision.horizon_months
    most = _less(one.usd_per_1k_high, two.usd_per_1k_low)
    least = _less(one.usd_per_1k_low, two.usd_per_1k_high)
    low = scale / most if most is not None and most > 0 else None
    high = scale / least if least is not None and least > 0 else None
    return BreakEven(first, second, scale / saving, low, high)


def _less(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def break_evens(costs: Mapping[str, ArmCost], decision: Decision) -> tuple[BreakEven, ...]:
    """All pairs that have one, in the arms' order."""
    names = list(costs)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    found = (break_even(a, b, costs, decision) for a, b in pairs)
    return tuple(result for result in found if result is not None)


def cost_at(cost: ArmCost, decision: Decision, requests_per_month: float, hosting: float = 0.0) -> float | None:
    """US dollars a month at a volume, one-off work and refreshes spread over the horizon; None when a part of it is
    unknown."""
    fixed = fixed_cost(cost, decision)
    price = None if "usd_per_1k_requests" in cost.lower_bounds else cost.usd_per_1k_requests
    if fixed is None or price is None or decision.horizon_months <= 0:
        return None
    return fixed / decision.horizon_months + price * requests_per_month / 1000 + hosting


def pareto_front(points: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Arms that no other arm beats on both (cost, quality) - less is better, more is better - cheapest first."""
    front: list[str] = []
    best = -math.inf
    for name, (_, quality) in sorted(points.items(), key=lambda pair: (pair[1][0], -pair[1][1])):
        if quality > best:
            front.append(name)
            best = quality
    return tuple(front)
