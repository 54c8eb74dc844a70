"""Money: what each request costs, what is paid once, what a month and a horizon cost, and where two arms break even.

What is counted.
- *Per request*: tokens as billed x price per token, and machine seconds of the predict phase x price per hour. A price
  scheme that the user does not use at all (no token price; no hourly price) is no part of the cost. Within a scheme
  in use a missing price or quantity is unknown, never free: the total is then a lower bound and named as such.
- *One-off*: prepare + train + search, the mean over the arm's trials: what a deployment pays once, not what the
  comparison paid for several seeds. The search is a sweep's other candidates and all answers to validation examples;
  it is made once, whatever the number of seeds. Training is billed per token seen (every epoch; the ledger's
  `seen_tokens`), as fine-tuning services do, or per `trained_tokens` where that is all the ledger has. Evaluation is
  not charged.
- *Month*: requests plus hosting. *Horizon*: one-off x (1 + refreshes) + months; a refresh repeats the one-off work.
Zero tokens at an unknown price cost nothing. Negative prices are treated as unknown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from harness.analysis.intervals import t_quantile
from harness.analysis.result import ArmCost
from harness.analysis.rows import CandidateRows, Decision, Prices, TrialRows
from harness.types import LedgerEntry

SEARCH = "search_"  # what a sweep's quantities begin with
SEARCHED = {"wall_s", "tokens_in", "tokens_out", "seen_tokens", "trained_tokens"}
HIGHEST = {"peak_memory_bytes", "trainable_parameters"}  # the largest row counts; everything else adds up


@dataclass(frozen=True)
class Amount:
    """A sum; `complete` is False when a part of it is unknown, None when no part is known."""

    value: float | None
    complete: bool = True

    def times(self, factor: float) -> Amount:
        return Amount(None if self.value is None else self.value * factor, self.complete)


NOTHING = Amount(0.0)
UNKNOWN = Amount(None, False)


def total(*parts: Amount) -> Amount:
    """The sum of what is known. A sum of nothing but zeros with an unknown part says nothing and is unknown."""
    known = [part.value for part in parts if part.value is not None]
    complete = all(part.complete and part.value is not None for part in parts)
    result = sum(known)
    return Amount(None, False) if not complete and not result else Amount(result, complete)


def charge(quantity: Amount, price: float | None) -> Amount:
    """Quantity x price. Nothing of something costs nothing whatever its price."""
    if quantity.value == 0 and quantity.complete:
        return NOTHING
    if quantity.value is None or price is None:
        return UNKNOWN
    return quantity.times(price)


def clean_prices(prices: Prices) -> Prices:
    """Negative and non-finite prices become unknown."""

    def sound(price: float | None) -> float | None:
        return price if price is not None and math.isfinite(price) and price >= 0 else None

    return Prices(**{name: sound(value) for name, value in vars(prices).items()})


class Books:
    """The ledgers of one arm's finished trials."""

    def __init__(self, trials: Sequence[TrialRows]) -> None:
        self.trials = [trial for trial in trials if trial.ledger]

    def amount(self, phase: str, *quantities: str) -> Amount:
        """Mean over trials of a quantity in a phase. The first of `quantities` that is there counts. A phase without
        any row did not happen: 0. Unknown rows leave the amount incomplete."""
        if not self.trials:
            return UNKNOWN
        sums = [self._one(trial, phase, quantities) for trial in self.trials]
        known = [amount.value for amount in sums if amount.value is not None]
        complete = all(amount.complete for amount in sums)
        return Amount(sum(known) / len(known), complete) if known else UNKNOWN

    def _one(self, trial: TrialRows, phase: str, quantities: Sequence[str]) -> Amount:
        of_search = quantities[0].startswith(SEARCH)
        rows = [e for e in trial.ledger if e.phase == phase and e.quantity.startswith(SEARCH) == of_search]
        if not rows:
            return NOTHING
        for quantity in quantities:
            found = [entry.value for entry in rows if entry.quantity == quantity]
            values = [value for value in found if value is not None]
            if found:
                join = max if quantity in HIGHEST else sum
                return Amount(join(values) if values else None, len(values) == len(found))
        # A phase that happened without being timed is unknown; one that reports no tokens used none.
        return UNKNOWN if quantities[0] == "wall_s" else NOTHING

    def has(self, quantity: str, basis: str | None = None) -> bool:
        """Whether any row is about this quantity (and was obtained this way)."""
        return any(
            entry.quantity == quantity and basis in (None, entry.basis)
            for trial in self.trials
            for entry in trial.ledger
        )

    def highest(self, quantity: str) -> float | None:
        """The largest value over phases and trials."""
        values = [e.value for t in self.trials for e in t.ledger if e.quantity == quantity and e.value is not None]
        return max(values, default=None)

    def mean_sum(self, quantity: str) -> float | None:
        """Mean over trials of the sum over phases; None when an arm reports nothing of the kind."""
        sums = []
        for trial in self.trials:
            values = [entry.value for entry in trial.ledger if entry.quantity == quantity]
            if values and None not in values:
                sums.append(sum(value for value in values if value is not None))
        return float(np.mean(sums)) if sums else None


@dataclass(frozen=True)
class Requests:
    """Tokens per request with the standard errors of their means, and requests per trial."""

    tokens_in: Amount
    tokens_out: Amount
    error_in: float
    error_out: float
    count: float | None
    cached: Amount


def requests_of(trials: Sequence[TrialRows], books: Books) -> Requests:
    """From the predictions' tokens as billed; from the ledger's sums where there are none."""
    pairs = [pair for trial in trials for pair in trial.tokens.values()]
    counted = books.amount("predict", "requests")
    count = counted.value if counted.value else None
    if count is None and trials:
        count = float(np.mean([len(trial.tokens) or len(trial.categories) for trial in trials])) or None
    cached = books.amount("predict", "cached_tokens", "tokens_cached")
    per_request = NOTHING if not count or not cached.value else cached.times(1 / count)
    if pairs:
        table = np.array(pairs, dtype=float)
        spread = table.std(axis=0, ddof=1) / math.sqrt(len(table)) if len(table) > 1 else np.zeros(2)
        means = table.mean(axis=0)
        return Requests(
            Amount(float(means[0])), Amount(float(means[1])), float(spread[0]), float(spread[1]), count, per_request
        )
    inputs, outputs = books.amount("predict", "tokens_in"), books.amount("predict", "tokens_out")
    if not count or not (inputs.value or outputs.value):
        return Requests(UNKNOWN, UNKNOWN, 0.0, 0.0, count, per_request)
    return Requests(inputs.times(1 / count), outputs.times(1 / count), 0.0, 0.0, count, per_request)


def _per_1k(requests: Requests, wall: Amount, prices: Prices) -> Amount:
    parts = []
    given = (prices.usd_per_1k_input_tokens, prices.usd_per_1k_output_tokens, prices.usd_per_1k_cached_tokens)
    machine = prices.usd_per_hour is not None
    if any(price is not None for price in given) or (prices.usd_per_1k_train_tokens is not None and not machine):
        cached = requests.cached if prices.usd_per_1k_cached_tokens is not None else NOTHING
        full = requests.tokens_in
        if full.value is not None and cached.value:
            full = Amount(max(full.value - cached.value, 0.0), full.complete)
            parts.append(charge(cached, prices.usd_per_1k_cached_tokens))
        # Tokens per request x price per 1,000 tokens is the price of 1,000 requests.
        parts += [charge(full, prices.usd_per_1k_input_tokens)]
        parts += [charge(requests.tokens_out, prices.usd_per_1k_output_tokens)]
    if machine:
        seconds = wall.times(1000 / requests.count) if requests.count else UNKNOWN
        parts.append(charge(seconds.times(1 / 3600), prices.usd_per_hour))
    return total(*parts) if parts else UNKNOWN


def _phase(books: Books, phase: str, prices: Prices, prefix: str = "") -> Amount:
    """Money of one phase (or, with a prefix, of the search that is booked in it)."""
    parts = []
    machine = prices.usd_per_hour is not None
    if phase == "train":
        asked = prices.usd_per_1k_input_tokens is not None or prices.usd_per_1k_output_tokens is not None
        if prices.usd_per_1k_train_tokens is not None or (asked and not machine):
            tokens = books.amount(phase, f"{prefix}seen_tokens", f"{prefix}trained_tokens")
            parts.append(charge(tokens.times(1 / 1000), prices.usd_per_1k_train_tokens))
    elif prices.usd_per_1k_input_tokens is not None or prices.usd_per_1k_output_tokens is not None:
        for quantity, price in (
            ("tokens_in", prices.usd_per_1k_input_tokens),
            ("tokens_out", prices.usd_per_1k_output_tokens),
        ):
            parts.append(charge(books.amount(phase, prefix + quantity).times(1 / 1000), price))
    if machine:
        wall = books.amount(phase, f"{prefix}wall_s")
        parts.append(charge(wall.times(1 / 3600), prices.usd_per_hour))
    if not parts:
        # No price bears on this phase: it costs nothing if it used nothing, else its cost is unknown.
        rows = [entry for trial in books.trials for entry in trial.ledger if entry.phase == phase and entry.value]
        used = any(entry.quantity.startswith(SEARCH) == bool(prefix) for entry in rows)
        return UNKNOWN if used or not books.trials else NOTHING
    return total(*parts)


def _search(books: Books, prices: Prices) -> Amount:
    """Candidates of a sweep: rows of prepare or train whose quantity starts with "search_"."""
    if not books.trials:
        return UNKNOWN
    phases = sorted({e.phase for t in books.trials for e in t.ledger if e.quantity.startswith(SEARCH)})
    return total(*(_phase(books, phase, prices, SEARCH) for phase in phases)) if phases else NOTHING


def search_ledger(candidates: Sequence[CandidateRows]) -> list[LedgerEntry]:
    """What a search cost beyond the chosen candidate's own adaptation, which its trial books: adapting the others, and
    answering the validation examples with all."""
    rows = []
    for candidate in candidates:
        for entry in candidate.costs:
            answering = entry.phase == "predict"
            if entry.quantity in SEARCHED and (answering or not candidate.chosen):
                phase = "prepare" if answering else entry.phase
                rows.append(replace(entry, phase=phase, quantity=SEARCH + entry.quantity))
    return rows


def arm_cost(
    trials: Sequence[TrialRows], prices: Prices, decision: Decision, error_rate: float | None = None
) -> ArmCost:
    """Costs of one arm from its finished trials; `error_rate` (1 - score) prices wrong answers if a price is given."""
    prices = clean_prices(prices)
    books = Books(trials)
    requests = requests_of(trials, books)
    wall = books.amount("predict", "wall_s")
    priced = any(value is not None for name, value in vars(prices).items() if name != "usd_per_error")
    per_1k = _per_1k(requests, wall, prices) if priced else UNKNOWN
    prepare = _phase(books, "prepare", prices) if priced else UNKNOWN
    train = _phase(books, "train", prices) if priced else UNKNOWN
    search = _search(books, prices) if priced else UNKNOWN
    one_off = total(prepare, train, search)
    month = horizon = UNKNOWN
    if priced and decision.monthly_requests is not None:
        hosting = Amount(prices.usd_hosting_per_month or 0.0)
        month = total(per_1k.times(decision.monthly_requests / 1000), hosting)
        rounds = 1 + decision.refreshes_per_month * decision.horizon_months
        horizon = total(one_off.times(rounds), month.times(decision.horizon_months))
    named = {
        "usd_per_1k_requests": per_1k,
        "train_usd": train,
        "prepare_usd": prepare,
        "search_usd": search,
        "one_off_usd": one_off,
        "usd_per_month": month,
        "usd_over_horizon": horizon,
    }
    low, high = _band(requests, per_1k, prices)
    seconds = (
        wall.value * 1000 / requests.count if wall.value is not None and wall.complete and requests.count else None
    )
    wrong = None if error_rate is None or prices.usd_per_error is None else 1000 * error_rate * prices.usd_per_error
    amounts: dict[str, Any] = {name: amount.value for name, amount in named.items()}
    return ArmCost(
        tokens_in_per_request=requests.tokens_in.value,
        tokens_out_per_request=requests.tokens_out.value,
        **amounts,
        train_wall_s=_whole(books.amount("train", "wall_s")),
        prepare_wall_s=_whole(books.amount("prepare", "wall_s")),
        predict_wall_s=_whole(wall),
        trained_tokens=_whole(books.amount("train", "trained_tokens", "seen_tokens")),
        trainable_parameters=books.amount("train", "trainable_parameters").value,
        artifact_bytes=books.mean_sum("artifact_bytes"),
        peak_memory_bytes=books.highest("peak_memory_bytes"),
        lower_bounds=tuple(n for n, amount in named.items() if amount.value is not None and not amount.complete),
        usd_per_1k_low=low,
        usd_per_1k_high=high,
        usd_of_errors_per_1k=wrong,
        seconds_per_1k_requests=seconds,
        **_physical(books, requests.count),
    )


def _physical(books: Books, count: float | None) -> dict[str, Any]:
    """Operations, energy and device seconds. A quantity that no trial's ledger has is unknown, not nothing."""

    def amount(phase: str, quantity: str, factor: float | None) -> float | None:
        if factor is None or not books.has(quantity):
            return None
        value = _whole(books.amount(phase, quantity))
        return None if value is None else value * factor

    each, per_1k = (1 / count, 1000 / count) if count else (None, None)
    return {
        "flops_per_request": amount("predict", "flops", each),
        "train_flops": amount("train", "flops", 1),
        "energy_wh_per_1k_requests": amount("predict", "energy_j", None if per_1k is None else per_1k / 3600),
        "train_energy_wh": amount("train", "energy_j", 1 / 3600),
        "energy_estimated": books.has("energy_j", "estimated"),
        "cpu_s_per_1k_requests": amount("predict", "cpu_s", per_1k),
        "gpu_s_per_1k_requests": amount("predict", "gpu_s", per_1k),
    }


def _whole(amount: Amount) -> float | None:
    """A quantity only when all of it is known."""
    return amount.value if amount.complete else None


def _band(requests: Requests, per_1k: Amount, prices: Prices) -> tuple[float | None, float | None]:
    """95 % band of the cost of 1,000 requests: prices x the standard errors of the mean tokens, in and out added
    (they go together); machine time has no spread that is known per request. An unknown part leaves it open above."""
    if per_1k.value is None:
        return None, None
    half = requests.error_in * (prices.usd_per_1k_input_tokens or 0.0)
    half += requests.error_out * (prices.usd_per_1k_output_tokens or 0.0)
    half *= t_quantile(0.975, math.inf)
    return max(per_1k.value - half, 0.0), per_1k.value + half if per_1k.complete else None
