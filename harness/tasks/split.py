"""Splits that depend on nothing but the items and the seed, and who must not see whose answer."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from harness.exceptions import DataError
from harness.types import Example


def folded(text: str) -> str:
    """Text with case, space and punctuation folded; a text of nothing but punctuation stays as it is."""
    wide = unicodedata.normalize("NFKC", text).casefold()
    if not wide.isascii():
        wide = "".join(" " if unicodedata.category(char).startswith("P") else char for char in wide)
    # Symbols such as + and $ are kept: "C++" and "C" are different questions.
    words = re.sub(r"[!\"#%&'()*,\-./:;?@\[\\\]_{}]", " ", wide).split()
    return " ".join(words) or wide.strip()


def input_of(example: Example, inputs: Mapping[str, str] | None = None) -> str:
    """The rendered input where it is known, else all fields."""
    if inputs is not None and example.id in inputs:
        return inputs[example.id]
    return "\n".join(text for _, text in sorted(example.query.fields.items()))


def _rank(seed: int, *parts: str) -> str:
    """A fixed pseudo-random order that does not depend on the order of the input."""
    return hashlib.sha256("\x1f".join([str(seed), *parts]).encode()).hexdigest()


def split_pool(
    examples: Sequence[Example], *, validation: float, test: float, group_by: bool, seed: int, stratify: bool = False
) -> dict[str, tuple[Example, ...]]:
    """Train, validation and test; shares of 0 give empty splits.

    `group_by`: no group stands in two splits, and sizes are as near as that allows. `stratify`: every split has the
    same mix of first references, as near as whole items allow; groups take precedence over it.
    """
    _check_shares(validation, test)
    ordered = sorted(examples, key=lambda example: (_rank(seed, "item", example.id), example.id))
    wanted = {"test": test, "validation": validation}
    if group_by:
        chosen = _by_group(ordered, wanted, seed)
    elif stratify:
        chosen = _by_label(ordered, wanted, seed)
    else:
        chosen = _plain(ordered, wanted)
    splits = {name: tuple(e for e in ordered if chosen[e.id] == name) for name in ("train", "validation", "test")}
    _check_filled(splits, wanted, group_by)
    return splits


def _check_shares(validation: float, test: float) -> None:
    if validation < 0 or test < 0 or validation + test >= 1:
        raise DataError(
            f"validation = {validation} and test = {test} leave nothing to train on.",
            hint="Shares are at least 0 and together below 1, such as validation = 0.1 and test = 0.2.",
        )


def _check_filled(splits: Mapping[str, Sequence[Example]], wanted: Mapping[str, float], group_by: bool) -> None:
    empty = [name for name, items in splits.items() if not items and wanted.get(name, 1.0) > 0]
    if empty:
        total = sum(len(items) for items in splits.values())
        groups = len({_group(example) for items in splits.values() for example in items})
        have = f"{total} examples" + (f" in {groups} groups" if group_by else "")
        raise DataError(
            f"the {' and '.join(empty)} split would be empty: there are only {have}.",
            hint="Add data, set the share of that split to 0, or"
            + (" group by a field with more values." if group_by else " give each split its own file."),
        )


def _counts(total: int, wanted: Mapping[str, float]) -> dict[str, int]:
    """Items for each held-out split: the nearest whole number, but one at least."""
    return {name: max(1, round(share * total)) if share > 0 else 0 for name, share in wanted.items()}


def _plain(ordered: Sequence[Example], wanted: Mapping[str, float]) -> dict[str, str]:
    chosen: dict[str, str] = {}
    waiting = iter(ordered)
    for name, count in _counts(len(ordered), wanted).items():
        chosen |= {example.id: name for example, _ in zip(waiting, range(count), strict=False)}
    return {example.id: chosen.get(example.id, "train") for example in ordered}


def _group(example: Example) -> tuple[str, str]:
    """The group, or the example by itself where it has none."""
    group = example.query.group
    return ("item", example.id) if group is None else ("group", group)


def _by_group(ordered: Sequence[Example], wanted: Mapping[str, float], seed: int) -> dict[str, str]:
    sizes: dict[tuple[str, str], int] = {}
    for example in ordered:
        sizes[_group(example)] = sizes.get(_group(example), 0) + 1
    waiting = sorted(sizes, key=lambda group: (_rank(seed, *group), group))
    home: dict[tuple[str, str], str] = {}
    for name, count in _counts(len(ordered), wanted).items():
        taken = 0
        for group in waiting:
            if taken + sizes[group] <= count:
                home[group] = name
                taken += sizes[group]
        waiting = [group for group in waiting if group not in home]
        if taken < count and len(waiting) > 1:  # the smallest that is left, where that comes nearer
            smallest = min(waiting, key=lambda group: sizes[group])
            if taken == 0 or sizes[smallest] - (count - taken) < count - taken:
                home[smallest] = name
                waiting.remove(smallest)
    return {example.id: home.get(_group(example), "train") for example in ordered}


def _by_label(ordered: Sequence[Example], wanted: Mapping[str, float], seed: int) -> dict[str, str]:
    waiting: dict[str, list[Example]] = {}
    for example in ordered:
        waiting.setdefault(example.references[0] if example.references else "", []).append(example)
    sizes = {label: len(items) for label, items in waiting.items()}
    chosen: dict[str, str] = {}
    for name, count in _counts(len(ordered), wanted).items():
        share = count / max(1, len(ordered))
        quota = {label: min(int(share * size), len(waiting[label])) for label, size in sizes.items()}
        # Largest remainders first, a label with items to spare before one that would lose its last.
        rest = sorted(
            sizes,
            key=lambda label: (
                len(waiting[label]) < 2,
                int(share * sizes[label]) - share * sizes[label],
                _rank(seed, label),
            ),
        )
        while sum(quota.values()) < count and any(quota[label] < len(waiting[label]) for label in rest):
            for label in rest:
                if sum(quota.values()) < count and quota[label] < len(waiting[label]):
                    quota[label] += 1
        for label, number in quota.items():
            chosen |= {example.id: name for example in waiting[label][:number]}
            waiting[label] = waiting[label][number:]
    return {example.id: chosen.get(example.id, "train") for example in ordered}


def _classes(examples: Iterable[Example], inputs: Mapping[str, str] | None) -> dict[str, frozenset[str]]:
    """For each id, all ids with the same folded input, itself included; equal sets are one object."""
    same: dict[str, list[str]] = {}
    for example in examples:
        same.setdefault(folded(input_of(example, inputs)), []).append(example.id)
    return {name: members for ids in same.values() for members in [frozenset(ids)] for name in ids}


def duplicates_of(examples: Sequence[Example], inputs: Mapping[str, str] | None = None) -> dict[str, frozenset[str]]:
    """For each id the other ids that ask the same, but for case, space and punctuation."""
    return {name: members - {name} for name, members in _classes(examples, inputs).items()}


def exclusions(examples: Sequence[Example], inputs: Mapping[str, str] | None = None) -> dict[str, frozenset[str]]:
    """For each id everything that must not be shown while its own prompt is rendered: itself, duplicates, its group."""
    same = _classes(examples, inputs)
    members: dict[str, list[str]] = {}
    for example in examples:
        if example.query.group is not None:
            members.setdefault(example.query.group, []).append(example.id)
    groups = {group: frozenset(ids) for group, ids in members.items()}
    found = {}
    for example in examples:
        group = groups.get(example.query.group, frozenset()) if example.query.group is not None else frozenset()
        found[example.id] = group if same[example.id] <= group else same[example.id] | group
    return found
