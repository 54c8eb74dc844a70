"""The columns of a comparison as plain cells, for every kind of report; a column that knows nothing is left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from harness import taxonomy
from harness.analysis.result import ArmCost, Comparison, Interval, PairedChange
from harness.report import text

CHOSEN, BEST = "★", "▲"


@dataclass(frozen=True)
class Column:
    """One column: a header of one or more lines, a cell for each arm. `strong` are rows to stand out; `rank` is the
    claim to a place beside the scores, lowest first."""

    header: str
    cells: tuple[str, ...]
    left: bool = False
    strong: frozenset[int] = field(default_factory=frozenset)
    rank: int = 0

    @property
    def empty(self) -> bool:
        return all(cell in (text.UNKNOWN, "", "0") for cell in self.cells)


Group = list[Column]


def two_lines(name: str) -> str:
    """A header broken at the underscore or space nearest to its middle."""
    name = text.one_line(name)
    breaks = [place for place, character in enumerate(name) if character in "_ "]
    if len(name) < 9 or not breaks:
        return name
    place = min(breaks, key=lambda place: abs(place - len(name) / 2))
    return f"{name[:place]}\n{name[place + 1 :]}"


def names(comparison: Comparison) -> Column:
    """Arms in the file's order; the chosen one and the best one marked."""
    verdict = comparison.verdict
    marks = {verdict.leader: BEST} if verdict.leader else {}
    if verdict.arm:
        marks[verdict.arm] = CHOSEN
    cells = tuple(" ".join(filter(None, (text.one_line(arm.name), marks.get(arm.name)))) for arm in comparison.arms)
    strong = frozenset(place for place, arm in enumerate(comparison.arms) if arm.name == verdict.arm)
    return Column("arm", cells, left=True, strong=strong)


def status(comparison: Comparison) -> Group:
    """Only where an arm is not done."""
    cells = tuple(text.one_line(arm.status) for arm in comparison.arms)
    return [] if all(cell == "done" for cell in cells) else [Column("status", cells, left=True)]


def primary(comparison: Comparison) -> Group:
    """The deciding metric with its interval, and the change against the baseline."""
    arms, name = comparison.arms, comparison.primary_metric
    values = [arm.metrics.get(name, Interval(None)) for arm in arms]
    leader = frozenset(place for place, arm in enumerate(arms) if arm.name == comparison.verdict.leader)
    found = [
        Column(two_lines(name), tuple(text.score(value.value) for value in values), strong=leader),
        Column("95 %\ninterval", tuple(text.interval(value.low, value.high, digits=2) for value in values)),
    ]
    changes, probabilities = [], []
    for arm in arms:
        known = arm.change is not None and arm.name != comparison.baseline
        changes.append(text.score(arm.change.value, signed=True) if known and arm.change else text.UNKNOWN)
        probabilities.append(text.p_value(arm.change.p_adjusted) if known and arm.change else text.UNKNOWN)
    if any(cell != text.UNKNOWN for cell in changes):
        base = [arm.name == comparison.baseline for arm in arms]
        cells = tuple("baseline" if here else cell for here, cell in zip(base, changes, strict=True))
        found += [Column("change", cells), Column("p", tuple(probabilities))]
    return [found[0], *(column for column in found[1:] if not column.empty)]


def other_metrics(comparison: Comparison) -> Group:
    """One column for each further metric; then retrieval, the spread over seeds, and items where some are missing."""
    arms = comparison.arms
    found = []
    for name in dict.fromkeys(name for arm in arms for name in arm.metrics):
        if name != comparison.primary_metric:
            values = [arm.metrics.get(name, Interval(None)).value for arm in arms]
            found.append(Column(two_lines(name), tuple(text.score(value) for value in values)))
    recall = tuple(text.score(arm.retrieval_recall.value if arm.retrieval_recall else None) for arm in arms)
    spread = tuple(
        f"{text.score(arm.seed_spread[0])} to {text.score(arm.seed_spread[1])}" if arm.seed_spread else text.UNKNOWN
        for arm in arms
    )
    found += [Column("retrieval\nrecall", recall), Column("over\nseeds", spread)]
    if len({arm.n for arm in arms}) > 1 or any((arm.coverage or 1.0) < 1 for arm in arms):
        found.append(Column("items", tuple(f"{arm.n:,}" for arm in arms)))
        covered = tuple(text.UNKNOWN if arm.coverage is None else f"{arm.coverage:.1%}" for arm in arms)
        found.append(Column("cover-\nage", covered))
    return [column for column in found if not column.empty]


def trade(comparison: Comparison) -> Group:
    """What an arm costs to serve and to make, and how fast it answers: what scores are weighed against."""
    arms = comparison.arms
    requests = _money("$ / 1,000\nrequests", "usd_per_1k_requests", comparison)
    if requests.empty:  # no price was given: the time of a batch run is what is known
        requests = _cost("time / 1,000\nrequests", lambda cost: text.seconds(cost.seconds_per_1k_requests), comparison)
    median, slow = (tuple(text.seconds(arm.latency_s.get(key)) for arm in arms) for key in ("p50", "p95"))
    columns = [
        requests,
        replace(_money("training\n$", "train_usd", comparison), rank=3),
        replace(_cost("training\ntime", lambda cost: _spent(cost.train_wall_s), comparison), rank=2),
        Column("latency\np50", median, rank=4),
        Column("latency\np95", slow, rank=1),
    ]
    return [column for column in columns if not column.empty]


def quantities(comparison: Comparison) -> Group:
    """Tokens, memory, sizes, training loss, money over time."""
    loss = tuple(f"{arm.loss[0]:.2f} → {arm.loss[1]:.2f}" if arm.loss else text.UNKNOWN for arm in comparison.arms)
    columns = [
        _cost("tokens in\n/ request", lambda cost: _tokens(cost.tokens_in_per_request), comparison),
        _cost("tokens out\n/ request", lambda cost: _tokens(cost.tokens_out_per_request), comparison),
        _cost("trained\ntokens", lambda cost: _amount(cost.trained_tokens), comparison),
        _cost("trainable\nparameters", lambda cost: _amount(cost.trainable_parameters), comparison),
        Column("training loss\nfirst → last", loss),
        _cost("peak\nmemory", lambda cost: text.size(cost.peak_memory_bytes), comparison),
        _cost("size of\nartifact", lambda cost: text.size(cost.artifact_bytes), comparison),
        _cost("FLOPs\n/ request", lambda cost: text.count(cost.flops_per_request), comparison),
        _cost("training\nFLOPs", lambda cost: _amount(cost.train_flops), comparison),
        _cost("Wh / 1,000\nrequests", lambda cost: _energy(cost.energy_wh_per_1k_requests, cost), comparison),
        _cost("training\nWh", lambda cost: _energy(cost.train_energy_wh, cost), comparison),
        _cost("prepare\ntime", lambda cost: _spent(cost.prepare_wall_s), comparison),
        _money("prepare\n$", "prepare_usd", comparison),
        _money("search\n$", "search_usd", comparison),
        _money("$ / month", "usd_per_month", comparison),
        _money("$ over\nhorizon", "usd_over_horizon", comparison),
        _money("$ of errors\n/ 1,000", "usd_of_errors_per_1k", comparison),
    ]
    return [column for column in columns if not column.empty]


def errors(comparison: Comparison) -> Group:
    """Counts by primary category: correct first, then the most frequent; a dot for none."""
    totals: dict[str, int] = {}
    for arm in comparison.arms:
        for category, number in arm.errors.items():
            totals[category] = totals.get(category, 0) + number
    rank = {name: place for place, name in enumerate(taxonomy.ORDER)}

    def key(category: str) -> tuple[bool, int, int, str]:
        return category != "correct", -totals[category], rank.get(category, len(rank)), category

    def cells(category: str) -> tuple[str, ...]:
        return tuple(
            text.UNKNOWN if not arm.errors else str(arm.errors.get(category, 0) or "·") for arm in comparison.arms
        )

    return [Column(two_lines(category), cells(category)) for category in sorted(totals, key=key) if totals[category]]


def benchmarks(comparison: Comparison) -> Group:
    """Each benchmark's score and its change against the baseline with a 95 % interval; "=" is the same model."""
    found = []
    for row in comparison.benchmarks:
        if not row.primary:
            continue
        scores = [row.scores.get(arm.name, Interval(None)).value for arm in comparison.arms]
        header = f"{text.one_line(row.name)}\n{text.one_line(row.metric)}"
        found.append(Column(header, tuple(map(text.score, scores))))
        if row.changes:
            changes = [row.changes.get(arm.name) for arm in comparison.arms]
            base = [arm.name == comparison.baseline for arm in comparison.arms]
            found.append(Column("change", tuple(map(_change, changes, base))))
    return found


def _change(change: PairedChange | None, baseline: bool) -> str:
    if baseline:
        return "baseline"
    if change is None or change.value is None:
        return text.UNKNOWN
    if change.method == "identical predictions":
        return "="
    return f"{text.score(change.value, signed=True)}\n{text.interval(change.low, change.high, digits=2)}"


def benchmark_legend(comparison: Comparison) -> list[str]:
    """How many items and shots; what "=" means."""
    rows = [row for row in comparison.benchmarks if row.primary]
    if not rows:
        return []
    parts = [
        f"{text.one_line(row.name)}: {row.n:,} items"
        + (f" of {row.tasks} tasks" if row.tasks > 1 else "")
        + (f", {row.shots} shots" if row.shots else "")
        for row in rows
    ]
    same = any(change.method == "identical predictions" for row in rows for change in row.changes.values())
    return [*parts, *(["=: the same model as the baseline's"] if same else [])]


def limits(comparison: Comparison) -> Group:
    """State of each limit by arm."""
    states = {(check.arm, check.limit): check.state for check in comparison.limits}
    kinds = dict.fromkeys((check.limit, check.maximum) for check in comparison.limits)
    return [
        Column(
            f"{text.one_line(limit)}\n≤ {maximum:g}",
            tuple(states.get((arm.name, limit), text.UNKNOWN) for arm in comparison.arms),
        )
        for limit, maximum in kinds
    ]


def _cost(header: str, cell: Callable[[ArmCost], str], comparison: Comparison) -> Column:
    return Column(header, tuple(cell(arm.cost) for arm in comparison.arms))


def _money(header: str, name: str, comparison: Comparison) -> Column:
    def cell(cost: ArmCost) -> str:
        value: float | None = getattr(cost, name)
        # Nothing spent, as for training in an arm that does not train, reads better as a blank than as a price.
        return (
            "0" if value == 0 and name not in cost.lower_bounds else text.usd(value, at_least=name in cost.lower_bounds)
        )

    return _cost(header, cell, comparison)


def _spent(value: float | None) -> str:
    return "0" if value == 0 else text.seconds(value)


def _amount(value: float | None) -> str:
    return "0" if value == 0 else text.count(value)


def _energy(value: float | None, cost: ArmCost) -> str:
    """Watt-hours; "~" where they are estimated from processor time."""
    if not value:
        return text.UNKNOWN if value is None else "0"
    return f"{'~' if cost.energy_estimated else ''}{f'{value:.2g}' if value < 10 else f'{value:,.0f}'}"


def _tokens(value: float | None) -> str:
    if value is None:
        return text.UNKNOWN
    return text.count(value) if value >= 1000 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def legend(comparison: Comparison) -> list[str]:
    """What the marks and the change columns mean, for those that occur."""
    verdict = comparison.verdict
    parts = [f"{CHOSEN} chosen"] if verdict.arm else []
    if verdict.leader and verdict.leader != verdict.arm:
        parts.append(f"{BEST} best score")
    if any(arm.change for arm in comparison.arms):
        parts.append(f"change: against {text.one_line(comparison.baseline)} on the same items")
        parts.append("p: corrected for the number of arms (Holm)")
    return parts


def cost_notes(comparison: Comparison) -> list[str]:
    """What the marks in the cost table mean, for those that occur."""
    notes = ["≥: a part of the sum is unknown, so the true cost is at least this."] if lower_bounds(comparison) else []
    if any(arm.cost.energy_estimated for arm in comparison.arms):
        notes.append("~: energy estimated from processor seconds; this machine has no counter that may be read.")
    return notes


def lower_bounds(comparison: Comparison) -> bool:
    """Whether any "≥" is printed."""
    return any(arm.cost.lower_bounds for arm in comparison.arms)
