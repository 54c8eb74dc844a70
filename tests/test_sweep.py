"""Sweeps and nested subsets without a model: what is tried, in which order, and what a file may say."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import sweep
from harness.adaptation import canonical_json
from harness.config import Arm, Use, load_experiment
from harness.exceptions import ConfigError
from harness.plugins import Registry
from harness.tables import BudgetTable
from harness.tasks.fingerprint import fingerprint
from harness.tasks.subset import nested_order, with_train_size
from harness.tasks.task import Task
from harness.types import Example, Query

Write = Callable[[str, str], Path]
sweeps = st.dictionaries(
    st.sampled_from(["lora.lr", "lora.r", "rag.k"]), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
)


def tried(values: sweep.Sweep, budget: BudgetTable, scores: Callable[[sweep.Candidate], float] = len) -> list[str]:
    """The candidates of a search that is told a score for each."""
    found, proposals = [], sweep.proposals(values, budget, "arm")
    settings = next(proposals, None)
    while settings is not None:
        found.append(canonical_json(dict(settings)))
        try:
            settings = proposals.send(scores(settings))
        except StopIteration:
            settings = None
    return found


@given(sweeps, st.integers(1, 70), st.sampled_from(["grid", "random"]), st.integers(0, 3))
def test_candidates_are_different_within_the_budget_and_repeat(
    values: dict[str, list[int]], most: int, search: str, seed: int
) -> None:
    budget = BudgetTable(candidates_per_arm=most, search=search, seed=seed)  # type: ignore[arg-type]
    found = tried(values, budget)
    whole = [canonical_json(sweep.candidate(values, place)) for place in range(sweep.grid_size(values))]
    assert len(set(whole)) == len(whole) == sweep.grid_size(values)
    assert len(found) == sweep.planned(values, budget) == min(most, len(whole))
    assert found == [name for name in whole if name in found]  # each once, in the grid's order
    assert found == tried(values, budget)


def test_a_random_draw_depends_on_seed_and_arm_and_reaches_every_candidate() -> None:
    values = {"lora.lr": [1, 2, 3], "lora.r": [4, 5]}
    draws = [
        [
            canonical_json(one)
            for one in sweep.listed(values, BudgetTable(candidates_per_arm=2, search="random", seed=s), a)
        ]
        for s in range(30)
        for a in ("one", "two")
    ]
    counts = Counter(name for draw in draws for name in draw)
    assert len(counts) == 6 and min(counts.values()) >= 5
    assert any(first != second for first, second in zip(draws[::2], draws[1::2], strict=True))


def test_the_grid_has_the_order_of_the_file() -> None:
    values = {"lora.lr": [1, 2], "lora.r": [8, 16]}
    assert sweep.listed(values, BudgetTable(), "arm") == [
        {"lora.lr": 1, "lora.r": 8},
        {"lora.lr": 1, "lora.r": 16},
        {"lora.lr": 2, "lora.r": 8},
        {"lora.lr": 2, "lora.r": 16},
    ]


def test_settings_reach_the_strategy_with_their_id() -> None:
    arm = Arm("two", (Use("lora", "lora", {"lr": 1, "r": 2}), Use("lora", "second", {"lr": 3})))
    chain = sweep.with_settings(arm, {"second.lr": 9, "lora.r": 4}).chain
    assert [use.settings for use in chain] == [{"lr": 1, "r": 4}, {"lr": 9}]


@pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
def test_optuna_is_guided_by_scores_and_repeats() -> None:
    values = {"lora.lr": list(range(12)), "lora.r": list(range(12))}
    budget = BudgetTable(candidates_per_arm=40, search="optuna")

    def score(settings: sweep.Candidate) -> float:
        return -abs(settings["lora.lr"] - 6) - abs(settings["lora.r"] - 6)

    found = tried(values, budget, score)
    assert len(found) == len(set(found)) == 40 and found == tried(values, budget, score)
    assert found != tried(values, budget, lambda settings: -score(settings))


# ----------------------------------------------------------------------------------------------------- the file

FILE = """
[experiment]
name = "demo"
[task]
loader = "jsonl"
train = "train.jsonl"
test = "test.jsonl"
input = "{question}"
[[arm]]
name = "zero"
strategies = ["prompt"]
[[arm]]
name = "tuned"
strategies = ["prompt", "lora"]
prompt = { k = 2 }
sweep = { "lora.lr" = [1e-4, 3e-4], "lora.r" = [8, 16, 8] }
"""


def test_a_sweep_is_read_with_the_strategys_own_types(write: Write, registry: Registry) -> None:
    experiment = load_experiment(write("e.toml", FILE + "[budget]\ncandidates_per_arm = 4\n"), registry)
    assert experiment.arms[0].sweep == {}
    assert experiment.arms[1].sweep == {"lora.lr": [1e-4, 3e-4], "lora.r": [8, 16]}
    assert experiment.budget.candidates_per_arm == 4 and experiment.learning_curve is None
    unquoted = FILE.replace('"lora.lr"', "lora.lr").replace('"lora.r"', "lora.r")
    assert load_experiment(write("f.toml", unquoted), registry).arms == experiment.arms


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ('"lora.lr"', '"lora.lrr"', ("line 15", "has no setting 'lrr'", "Did you mean 'lr'?")),
        ('"lora.lr"', '"loar.lr"', ("line 15", "is not a setting of this arm", "Did you mean 'lora.lr'?")),
        ("[1e-4, 3e-4]", "[]", ("needs a list with at least one value",)),
        ("[1e-4, 3e-4]", "1e-4", ("needs a list with at least one value",)),
        ("[1e-4, 3e-4]", '[-1.0, "x"]', ("greater than 0 (got -1.0)", "(got 'x')")),
        ("[8, 16, 8]", "[1, 2, 3, 4, 5]", ("has 10 candidates", "candidates_per_arm allows 8", 'search = "random"')),
    ],
)
def test_what_a_sweep_may_not_say(
    write: Write, registry: Registry, old: str, new: str, wanted: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(write("e.toml", FILE.lstrip("\n").replace(old, new)), registry)
    for part in wanted:
        assert part in str(caught.value), str(caught.value)


def test_mistakes_of_tuning_are_reported_together(
    write: Write, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    tables = '[budget]\nsearch = "optuna"\ncandidates = 3\n[learning_curve]\nsizes = [0, 50]\narms = ["tunde"]\n'
    with pytest.raises(ConfigError) as caught:
        load_experiment(write("e.toml", FILE + tables), registry)
    for part in ("budget.candidates", "learning_curve.sizes", "greater than or equal to 1"):
        assert part in str(caught.value), str(caught.value)
    tables = '[budget]\nsearch = "optuna"\n[learning_curve]\nsizes = [50]\narms = ["tunde"]\n'
    with pytest.raises(ConfigError) as caught:
        load_experiment(write("f.toml", FILE + tables), registry)
    for part in ("pip install optuna", "no arm 'tunde'", "Did you mean 'tuned'?"):
        assert part in str(caught.value), str(caught.value)


# -------------------------------------------------------------------------------------------------- nested subsets


def examples(groups: list[int | None]) -> tuple[Example, ...]:
    return tuple(
        Example(Query(f"i{place}", {"question": f"q{place}"}, None if group is None else f"g{group}"), ("a",))
        for place, group in enumerate(groups)
    )


def task_of(train: tuple[Example, ...]) -> Task:
    fingerprints = {"train": fingerprint(train), "validation": "v", "test": "t", "corpus": "c"}
    return Task(train, (), (), (), (), "generate", {}, {}, fingerprints)


@given(st.lists(st.none() | st.integers(0, 4), min_size=1, max_size=30), st.integers(0, 3), st.randoms())
def test_subsets_are_nested_and_cut_one_group_at_most(groups: list[int | None], seed: int, shuffle: object) -> None:
    train = examples(groups)
    shuffled = list(train)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    assert nested_order(shuffled, seed) == nested_order(train, seed)
    members = Counter(example.query.group for example in train if example.query.group is not None)
    before: set[str] = set()
    for size in range(1, len(train) + 1):
        subset = with_train_size(task_of(train), size, seed)
        kept = {example.id for example in subset.train}
        assert len(kept) == size and before < kept
        assert [e.id for e in subset.train] == [e.id for e in train if e.id in kept]
        seen = Counter(example.query.group for example in subset.train if example.query.group is not None)
        assert sum(count < members[group] for group, count in seen.items()) <= 1
        before = kept
    assert with_train_size(task_of(train), len(train), seed).fingerprints == task_of(train).fingerprints


def test_another_seed_draws_other_examples() -> None:
    train = examples([None] * 40)
    drawn = {tuple(sorted(nested_order(train, seed)[:10])) for seed in range(10)}
    assert len(drawn) == 10
