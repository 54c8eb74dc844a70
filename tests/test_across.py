"""Two runs against each other, the gate and its exit codes, and the plan of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from synthetic_run import synthetic_run

from harness.analysis.across import Across, across, gate
from harness.analysis.rows import MetricInfo, RunRows, TrialRows
from harness.cli.compare import command as compare_command
from harness.cli.gate import command as gate_command

ROOT = Path(__file__).parent.parent


def mean(records: Sequence[Any]) -> float:
    return sum(record["value"] for record in records) / len(records)


def run(
    values: dict[str, Sequence[float]], *, higher: bool = True, first: int = 0, digest: str | None = None
) -> RunRows:
    length = max(map(len, values.values()), default=0)
    items = [f"i{first + place}" for place in range(length)]
    trials = [
        TrialRows(
            arm,
            0,
            "done",
            {"accuracy": {item: {"value": value} for item, value in zip(items, scores, strict=False)}},
            prediction_digest=digest,
        )
        for arm, scores in values.items()
    ]
    metric = MetricInfo("accuracy", mean, higher_is_better=higher)
    arms = list(values)
    return RunRows({"id": "x"}, arms, arms[0], dict.fromkeys(items), [metric], "accuracy", trials)


def share(right: int, of: int = 200) -> list[float]:
    return [1.0] * right + [0.0] * (of - right)


def judged(before: RunRows, after: RunRows, drop: float = 0.02) -> str:
    return gate(across(before, after), drop).state


def test_the_gate_fails_passes_or_is_open_by_the_interval() -> None:
    assert judged(run({"a": share(180)}), run({"a": share(120)})) == "fail"
    assert judged(run({"a": share(120)}), run({"a": share(180)})) == "pass"
    assert judged(run({"a": share(100)}), run({"a": share(98)})) == "open"
    assert judged(run({"a": share(100)}), run({"a": share(98)}), drop=0.05) == "pass"
    assert judged(run({"a": share(100)}, digest="d"), run({"a": share(100)}, digest="d"), drop=0.0) == "pass"


def test_lower_is_better_turns_the_gate() -> None:
    assert judged(run({"a": share(120)}, higher=False), run({"a": share(180)}, higher=False)) == "fail"
    assert judged(run({"a": share(180)}, higher=False), run({"a": share(120)}, higher=False)) == "pass"


def test_one_bad_arm_fails_the_gate_and_one_unclear_arm_leaves_it_open() -> None:
    before = run({"a": share(150), "b": share(100)})
    assert judged(before, run({"a": share(150), "b": share(20)})) == "fail"
    assert judged(before, run({"a": share(190), "b": share(97)})) == "open"


def test_what_cannot_be_compared_is_open_and_says_why() -> None:
    nothing = across(run({"a": share(10, 20)}), run({"a": share(10, 20)}, first=50))
    assert nothing.items == 0 and nothing.arms[0].note
    assert gate(nothing, 0.02).state == "open"
    one = across(run({"a": [1.0]}), run({"a": [0.0]}))
    assert one.arms[0].low is None and "one item" in one.arms[0].note and gate(one, 0.02).state == "open"
    failed = run({"a": share(10)})
    failed = RunRows(**{**vars(failed), "trials": [TrialRows("a", 0, "failed", error="x")]})
    assert "no finished trial" in across(run({"a": share(10)}), failed).arms[0].note


def test_only_items_with_the_same_content_count() -> None:
    before, after = run({"a": share(100)}), run({"a": share(100)})
    found = across(before, after, same=frozenset(f"i{n}" for n in range(50)))
    assert found.items == 50 and any("50 test items" in note for note in found.notes)


def test_unchanged_arms_rarely_fail() -> None:
    """At most 2.5 % by theory over all arms together; 400 pairs of runs with four arms each."""
    generator = np.random.default_rng(5)

    def drawn() -> Across:
        base = {arm: generator.random(120) for arm in "abcd"}
        flips = {arm: np.where(generator.random(120) < 0.3, generator.random(120), u) for arm, u in base.items()}
        return across(
            run({arm: (u < 0.6).astype(float).tolist() for arm, u in base.items()}),
            run({arm: (u < 0.6).astype(float).tolist() for arm, u in flips.items()}),
        )

    assert np.mean([gate(drawn(), 0.0).state == "fail" for _ in range(400)]) <= 0.035


# ------------------------------------------------------------------------------------------------------- the verbs


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    path = tmp_path_factory.mktemp("across") / "harness.db"
    ids = {name: synthetic_run(path, name=name, lead=lead) for name, lead in (("good", 0.7), ("bad", 0.0))}
    return path, ids


def call(command: Any, *arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_compare_prints_and_gives_json(results: tuple[Path, dict[str, str]]) -> None:
    path, ids = results
    shown = call(compare_command, "good", "bad", "--results", str(path))
    assert shown.exit_code == 0 and "rag+lora" in shown.output and ids["good"] in shown.output
    data = json.loads(call(compare_command, "good", "bad", "--json", "--results", str(path)).output)
    last = next(arm for arm in data["arms"] if arm["arm"] == "rag+lora")
    assert last["change"]["value"] == pytest.approx(last["after"]["value"] - last["before"]["value"])
    assert last["change"]["value"] < -0.3 and last["high"] < 0


def test_gate_exit_codes(results: tuple[Path, dict[str, str]]) -> None:
    path, _ = results
    tail = ("--results", str(path))
    assert call(gate_command, "bad", "--baseline", "good", *tail).exit_code == 1
    same = call(gate_command, "good", "--baseline", "good", *tail)
    assert same.exit_code == 0 and "gate passed" in same.output
    synthetic_run(path, name="other", seed=1)
    assert call(gate_command, "other", "--baseline", "good", "--arm", "zero-shot", *tail).exit_code == 4
    assert call(gate_command, "bad", "--baseline", "good", "--arm", "rag+lora", "--json", *tail).exit_code == 1


@pytest.mark.parametrize("arguments", [("--metric", "token_f2"), ("--arm", "loar")])
def test_wrong_names_get_the_nearest(results: tuple[Path, dict[str, str]], arguments: tuple[str, str]) -> None:
    from harness.exceptions import HarnessError

    path, _ = results
    found = call(gate_command, "bad", "--baseline", "good", *arguments, "--results", str(path))
    assert isinstance(found.exception, HarnessError) and "Did you mean" in found.exception.hint
