"""Error analysis: categories by arm and slice, what an arm fixed and broke, typical examples. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.intervals import wilson
from harness.analysis.result import Interval
from harness.types import ErrorLabel

CORRECT = "correct"
MOST_VALUES = 12  # of one slice; rarer values are counted together
OTHERS = "(others)"
MOST_COMPARED = 200  # texts among which typical ones are looked for,
MOST_WORDS = 500  # ... by so many of their first words
BUILT_IN_SLICES = ("length", "gold", "group")


@dataclass(frozen=True)
class Item:
    """One test item, as slices and examples need it."""

    id: str
    input: str = ""
    gold: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True)
class Answer:
    """One arm's answer to one item with its categories."""

    text: str
    primary: str
    labels: tuple[ErrorLabel, ...] = ()

    @property
    def evidence(self) -> str:
        """Why it is in its primary category."""
        return next((label.evidence for label in self.labels if label.category == self.primary), "")


@dataclass(frozen=True)
class Count:
    """How many answers have a category as their primary one, with the interval of that share (Wilson, 95 %); `any`
    counts those that have it at all."""

    category: str
    count: int
    any: int
    share: Interval


@dataclass(frozen=True)
class Transition:
    """An arm against the baseline, item by item. `matrix` counts (baseline's category, arm's category)."""

    fixed: tuple[str, ...]
    broke: tuple[str, ...]
    both_right: int
    both_wrong: int
    matrix: Mapping[tuple[str, str], int]


def share_of(count: int, total: int) -> Interval:
    """A share with Wilson's interval; unknown of nothing."""
    return Interval(count / total, *wilson(count / total, total)) if total else Interval(None, note="no answers")


def category_counts(answers: Iterable[Answer]) -> list[Count]:
    """Most frequent first; categories that are never the primary one come last."""
    known = list(answers)
    primary = Counter(answer.primary for answer in known)
    every = Counter(name for answer in known for name in {answer.primary, *(label.category for label in answer.labels)})
    order = sorted(every, key=lambda name: (-primary[name], -every[name], name))
    return [Count(name, primary[name], every[name], share_of(primary[name], len(known))) for name in order]


def transition(baseline: Mapping[str, Answer], arm: Mapping[str, Answer]) -> Transition:
    """On the items that both answered, in the baseline's order."""
    both = [item for item in baseline if item in arm]
    pairs = [(item, baseline[item].primary, arm[item].primary) for item in both]
    return Transition(
        fixed=tuple(item for item, before, after in pairs if before != CORRECT == after),
        broke=tuple(item for item, before, after in pairs if before == CORRECT != after),
        both_right=sum(before == CORRECT == after for _, before, after in pairs),
        both_wrong=sum(before != CORRECT != after for _, before, after in pairs),
        matrix=dict(Counter((before, after) for _, before, after in pairs).most_common()),
    )


def slices(by: str, items: Sequence[Item]) -> dict[str, list[str]]:
    """Value → ids. `by`: a field, or "length" (thirds of the inputs by words), "gold" (first reference), "group"."""
    if by == "length":
        return _thirds(items)
    found: dict[str, list[str]] = {}
    for item in items:
        if by == "gold":
            value: str | None = item.gold[0] if item.gold else None
        else:
            value = item.group if by == "group" else item.fields.get(by)
        found.setdefault("(none)" if value is None else value, []).append(item.id)
    if len(found) <= MOST_VALUES:
        return found
    ordered = sorted(found, key=lambda value: -len(found[value]))
    kept = {value: found[value] for value in ordered[: MOST_VALUES - 1]}
    return {**kept, OTHERS: [item for value in ordered[MOST_VALUES - 1 :] for item in found[value]]}


def _thirds(items: Sequence[Item]) -> dict[str, list[str]]:
    """Equal lengths are never torn apart, so that thirds may differ in size."""
    lengths = sorted(len(item.input.split()) for item in items)
    if not lengths:
        return {}
    low, high = lengths[len(lengths) // 3], lengths[2 * len(lengths) // 3]
    names = (f"up to {low} words", f"{low + 1} to {high} words", f"over {high} words")
    found: dict[str, list[str]] = {}
    for item in items:
        words = len(item.input.split())
        found.setdefault(names[0] if words <= low else names[1] if words <= high else names[2], []).append(item.id)
    return {name: found[name] for name in names if name in found}


def typical(texts: Mapping[str, str], count: int) -> list[str]:
    """The ids of the texts that are most like the others: highest mean Jaccard similarity of their sets of words (of a
    long text: its first ones), then in the given order; a text that says the same as a chosen one is passed over while
    others are left."""
    ids = list(texts)[:: max(1, -(-len(texts) // MOST_COMPARED))]
    words = {item: frozenset(texts[item].lower().split()[:MOST_WORDS]) for item in ids}
    near = {item: sum(_jaccard(words[item], words[other]) for other in ids) for item in ids}
    ranked = sorted(ids, key=lambda item: -near[item])
    fresh: list[str] = []
    for item in ranked:
        if texts[item] not in [texts[chosen] for chosen in fresh]:
            fresh.append(item)
    return [*fresh, *(item for item in ranked if item not in fresh)][:count]


def _jaccard(one: frozenset[str], two: frozenset[str]) -> float:
    both = len(one & two)
    return both / (len(one) + len(two) - both) if one or two else 1.0
