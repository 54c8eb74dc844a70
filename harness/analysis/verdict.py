"""The decision, step by step in sentences: a win, a tie (then the cheapest), or insufficient evidence.

The bounds. For each arm the lower bounds of its differences to all others hold together at 97.5 % (max-T over those
comparisons). This is Hsu's multiple comparison with the best (Hsu 1984, Ann. Stat. 12:1136): on the event that the
bounds of a truly best arm hold, no other arm can win, and every arm's bound on its distance from the best is right -
so the arms of a tie are *simultaneously* within the margin. Two equally good best arms could each win with 2.5 %, so
a false win has at most 5 %, whatever the number of arms.

A tie of one. Where a single arm is shown to be within the margin of the best, it is chosen when it is the cheapest
too, because nothing that is still open can change that. When it is not, the evidence is insufficient - a cheaper arm
may do as well - and the reasons say that choosing it is safe.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.choice import UNORDERED, Cheapest, break_even, cheapest, deciding_cost
from harness.analysis.power import items_to_settle
from harness.analysis.result import ArmCost, LimitCheck, Verdict
from harness.analysis.rows import Decision
from harness.analysis.standing import Standing

LEAST_COVERAGE = 0.98


@dataclass(frozen=True)
class Case:
    """What the verdict is about. `unfinished` maps arms without numbers to why; `standing` holds eligible arms."""

    metric: str
    higher_is_better: bool
    items: int
    standing: Standing
    costs: Mapping[str, ArmCost]
    decision: Decision
    unfinished: Mapping[str, str] = field(default_factory=dict)
    excluded: Mapping[str, str] = field(default_factory=dict)  # by coverage or by a violated limit
    by_limit: frozenset[str] = frozenset()
    limits: Sequence[LimitCheck] = ()

    def shown(self, arm: str) -> str:
        """The arm's score as the metric gives it."""
        score = self.standing.scores[arm]
        return f"{score if self.higher_is_better else -score:.3f}"


def exclusions(
    coverage: Mapping[str, float | None], limits: Sequence[LimitCheck]
) -> tuple[dict[str, str], frozenset[str]]:
    """Arms that cannot be chosen and why; and those among them that a limit rules out."""
    excluded: dict[str, str] = {}
    for arm, share in coverage.items():
        if share is not None and share < LEAST_COVERAGE:
            excluded[arm] = f"only {share:.1%} of the items were answered and scored; {LEAST_COVERAGE:.0%} are needed"
    by_limit = set()
    for check in limits:
        if check.state == "violated":
            by_limit.add(check.arm)
            seen = f"{_amount(check.value)} (at least {_amount(check.low)})"
            why = f"{check.limit} is {seen}, above {_amount(check.maximum)}"
            excluded[check.arm] = f"{excluded[check.arm]}; {why}" if check.arm in excluded else why
    return excluded, frozenset(by_limit)


def decide(case: Case) -> Verdict:
    """The verdict over the eligible arms."""
    reasons = _preamble(case)
    arms = case.standing.arms
    margin = case.decision.margin
    if not arms:
        reasons.append("No arm can be chosen, so there is nothing to decide.")
        return Verdict("insufficient", None, tuple(reasons), excluded=case.excluded)
    if len(arms) == 1:
        return _alone(case, arms[0], reasons)
    leader = arms[0]
    worded = "highest" if case.higher_is_better else "lowest (lower is better)"
    reasons.append(f"{leader} has the {worded} {case.metric}: {case.shown(leader)}, over {case.items} items.")
    reasons += _against_rivals(case, leader)
    winner = case.standing.winner(margin)
    if winner is not None:
        return _win(case, winner, reasons)
    reasons.append(f"So no arm is shown to beat every other by more than the margin of {margin:g}.")
    within = case.standing.within(margin)
    if len(within) >= 2:
        return _tie(case, within, reasons)
    if within and _cheapest_anyway(case, within[0]):
        return _settled(case, within[0], reasons)
    return _open(case, within, reasons)


def _preamble(case: Case) -> list[str]:
    arms = case.standing.arms
    reasons = [f"{len(arms)} of {len(arms) + len(case.excluded) + len(case.unfinished)} arms can be chosen."]
    reasons += [f"{arm} cannot be chosen: {why}." for arm, why in case.unfinished.items()]
    reasons += [f"{arm} is ruled out: {why}." for arm, why in case.excluded.items()]
    unknown: dict[tuple[str, float], list[str]] = {}
    for check in case.limits:
        if check.state == "unknown" and check.arm in arms:
            seen = "not measured" if check.value is None else f"observed {_amount(check.value)}"
            unknown.setdefault((check.limit, check.maximum), []).append(f"{check.arm} ({seen})")
    for (limit, maximum), names in unknown.items():
        reasons.append(
            f"Whether the limit {limit} <= {_amount(maximum)} is kept is unknown for {_list(names)}; "
            "only a limit shown to be violated rules an arm out."
        )
    return reasons


def _against_rivals(case: Case, leader: str) -> list[str]:
    lines = []
    for rival in case.standing.arms[1:]:
        bound = case.standing.lower[leader, rival]
        if math.isinf(bound):
            lines.append(f"{leader} and {rival} have no item in common, so they cannot be compared.")
            continue
        found = case.standing.differences[leader, rival]
        if found is not None and found.error == 0:
            lines.append(f"{leader} and {rival} gave identical answers: the difference is 0.")
            continue
        lead = case.standing.lead(leader, rival)
        lines.append(
            f"{leader} is ahead of {rival} by {lead:.3f}, and by {bound:+.3f} at the least (all bounds at once)."
        )
    return lines


def _alone(case: Case, arm: str, reasons: list[str]) -> Verdict:
    if case.by_limit and not case.unfinished and set(case.excluded) == set(case.by_limit):
        reasons.append(f"{arm} is the only arm that keeps the limits, so it is chosen.")
        return Verdict("win", arm, tuple(reasons), excluded=case.excluded, leader=arm, would_flip=_limits_flip(case))
    reasons.append(f"{arm} is the only arm with usable results, so there is nothing to compare it with.")
    return Verdict("insufficient", None, tuple(reasons), excluded=case.excluded, leader=arm)


def _win(case: Case, winner: str, reasons: list[str]) -> Verdict:
    lowest = case.standing.lowest(winner)
    reasons.append(
        f"{winner} wins: it beats every other arm by more than the margin of {case.decision.margin:g}, "
        "and all these statements hold together with 95 % confidence."
    )
    runner_up = case.standing.arms[1]
    flips = [f"A margin of {lowest:.3f} or more would no longer leave a win."]
    order = cheapest({arm: case.costs[arm] for arm in case.standing.arms})
    if order.arm != winner:
        lead = case.standing.lead(winner, order.arm)
        flips.append(
            f"{order.arm} is the cheapest by {order.basis}{_price(case, order.arm)}, against "
            f"{winner}{_price(case, winner)}: if {lead:.3f} of {case.metric} is not worth that, choose {order.arm}."
        )
    flips += _limits_flip(case)
    return Verdict("win", winner, tuple(reasons), runner_up, tuple(flips), case.excluded, (), winner)


def _tie(case: Case, within: tuple[str, ...], reasons: list[str]) -> Verdict:
    order = cheapest({arm: case.costs[arm] for arm in within})
    chosen = order.arm
    margin = case.decision.margin
    reasons.append(
        f"{_list(within)} tie: each is shown to be no worse than the best by more than {margin:g}, all together with "
        "95 % confidence."
    )
    reasons.append(f"Among them {chosen} is chosen: the lowest by {order.basis}{_price(case, chosen)}.")
    reasons += [f"Take note: {doubt}." for doubt in order.doubts]
    flips = _tie_flips(case, within, order)
    others = [arm for arm in case.standing.arms if arm not in within]
    if others:
        overall = cheapest({arm: case.costs[arm] for arm in (chosen, *others)})
        if overall.arm != chosen:
            flips.append(
                f"{overall.arm}{_price(case, overall.arm)} is cheaper, but not shown to be within the margin; "
                "more items could show it."
            )
    return Verdict(
        "tie", chosen, tuple(reasons), order.order[1], tuple(flips), case.excluded, within, case.standing.arms[0]
    )


def _cheapest_anyway(case: Case, arm: str) -> bool:
    order = cheapest({name: case.costs[name] for name in case.standing.arms})
    return order.arm == arm and not order.doubts and order.basis != UNORDERED


def _settled(case: Case, arm: str, reasons: list[str]) -> Verdict:
    """One arm alone is within the margin of the best and it is the cheapest: nothing that is open can change it."""
    reasons.append(
        f"{arm} is shown to be no worse than any other by more than {case.decision.margin:g} (95 % confidence). "
        f"Whether others do as well is open, but {arm} is also the cheapest{_price(case, arm)}: the choice either way."
    )
    flips = [f"A margin below {max(-case.standing.lowest(arm), 0.0):.3f} would leave it open."]
    others = [name for name in case.standing.arms if name != arm]
    return Verdict(
        "tie",
        arm,
        tuple(reasons),
        others[0],
        (*flips, *_limits_flip(case)),
        case.excluded,
        (arm,),
        case.standing.arms[0],
    )


def _tie_flips(case: Case, within: tuple[str, ...], order: Cheapest) -> list[str]:
    chosen = order.arm
    second = sorted(-case.standing.lowest(arm) for arm in within)[1]
    flips = [f"With a margin below {max(second, 0.0):.3f} these data would no longer show a tie."]
    for rival in order.order[1:]:
        found = break_even(chosen, rival, case.costs, case.decision)
        if found is not None:
            side = "Above" if found.above == rival else "Below"
            spread = found.low is not None and (found.high is None or found.high > found.low * 1.001)
            band = f" (band {_count(found.low)} to {_count(found.high)})" if spread else ""
            flips.append(f"{side} {_count(found.requests_per_month)} requests a month{band} {rival} would be cheaper.")
        rate = _refresh_flip(case, chosen, rival)
        if rate is not None:
            more, than = ("more", rate) if rate > case.decision.refreshes_per_month else ("fewer", rate)
            flips.append(f"With {more} than {than:.2f} refreshes a month {rival} would be cheaper.")
    flips += [f"A price may flip it: {doubt}." for doubt in order.doubts]
    return [*flips, *_limits_flip(case)]


def _refresh_flip(case: Case, chosen: str, rival: str) -> float | None:
    """Refreshes per month at which both cost the same over the horizon."""
    one, two, decision = case.costs[chosen], case.costs[rival], case.decision
    needed = ("one_off_usd", "usd_per_month")
    if any(getattr(c, name) is None or name in c.lower_bounds for c in (one, two) for name in needed):
        return None
    slope = (one.one_off_usd or 0.0) - (two.one_off_usd or 0.0)
    if slope == 0 or decision.horizon_months <= 0:
        return None
    months = decision.horizon_months * ((two.usd_per_month or 0.0) - (one.usd_per_month or 0.0))
    rate = (months / slope - 1) / decision.horizon_months
    return rate if rate > 0 else None


def _open(case: Case, within: tuple[str, ...], reasons: list[str]) -> Verdict:
    leader, margin = case.standing.arms[0], case.decision.margin
    runner_up = case.standing.arms[1]
    if within:
        reasons.append(
            f"{within[0]} alone is shown to be no worse than any other by more than {margin:g}: choosing it is safe, "
            "but whether another arm does as well, or falls behind by more than the margin, is open."
        )
    else:
        reasons.append(f"Nor are two arms shown to be within {margin:g} of the best: the evidence is insufficient.")
    needed, sentence = _settling(case, leader)
    reasons.append(sentence)
    shares = [d.seed_share for d in (case.standing.differences[leader, runner_up],) if d and d.seed_share is not None]
    if shares and shares[0] > 0.5:
        reasons.append(
            f"Seeds contribute {shares[0]:.0%} of the uncertainty of that lead: more seeds help more than items."
        )
    lowest = case.standing.lowest(leader)
    flips = []
    if lowest > 0:
        flips.append(f"With a margin below {lowest:.3f} {leader} would win.")
    elif leader not in within and math.isfinite(lowest):
        flips.append(f"With a margin of {-lowest:.3f} or more {leader} would be a safe choice.")
    field_name, _ = deciding_cost(list(case.costs.values()))
    if field_name:
        flips.append("Until it is settled, cost may decide: see the arms' costs.")
    flips += _limits_flip(case)
    return Verdict("insufficient", None, tuple(reasons), runner_up, tuple(flips), case.excluded, within, leader, needed)


def _settling(case: Case, leader: str) -> tuple[int | None, str]:
    """How many items would settle it. Rivals ahead of which the leader is by more than the margin must be beaten;
    if there is one that it does not lead by that much, showing the nearest of those to tie is enough."""
    arms, margin = case.standing.arms, case.decision.margin
    beaten: list[int | None] = []
    level: list[int | None] = []
    for rival in arms[1:]:
        found = case.standing.differences[leader, rival]
        if found is None:
            return None, "Arms without a common item cannot be compared by any number of further items."
        lead = case.standing.lead(leader, rival)
        if found.error == 0 or (lead > margin and case.standing.lower[leader, rival] > margin):
            continue
        items = items_to_settle(lead, found.error, found.n, len(arms), margin)
        (beaten if lead > margin else level).append(items)
    known = [items for items in (level or beaten) if items is not None]
    if not known or (not level and len(known) < len(beaten)):
        return None, (
            "The leads are so close to the margin that no realistic number of items would settle it: decide by cost, "
            "or choose another margin."
        )
    needed = min(known) if level else max(known)
    what = "a tie" if level else f"a win of {leader}"
    return needed, f"If the leads seen here are the true ones, about {needed:,} items in all would settle it ({what})."


def _limits_flip(case: Case) -> tuple[str, ...]:
    return tuple(f"{arm} would come into question again if this changed: {why}." for arm, why in case.excluded.items())


def _price(case: Case, arm: str) -> str:
    field_name, _ = deciding_cost([case.costs[name] for name in case.standing.arms])
    if not field_name:
        return ""
    cost = case.costs[arm]
    value = getattr(cost, field_name)
    if value is None:
        return " (cost unknown)"
    return f" ({'at least ' if field_name in cost.lower_bounds else ''}${value:,.{2 if value >= 1 else 4}f})"


def _amount(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _count(value: float | None) -> str:
    return "any number" if value is None else f"{value:,.0f}"


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
