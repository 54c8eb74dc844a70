"""The evals are tested before strategies run: gold, empty, majority, copied input, shuffled gold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config import load_experiment
from harness.exceptions import ConfigError
from harness.plugins import Registry
from harness.report.trivial import of_comparison
from harness.runner.eval_checks import TRIVIAL, EvalCheck, check_evals, stop_if_blind, warnings_of
from harness.runner.evaluate import Evaluator
from harness.tasks.task import load_task
from tests.test_report import quickstart

Write = Callable[[str, str], Path]


def checks(
    write: Write,
    registry: Registry,
    pairs: list[tuple[str, str]],
    task: str = "",
    more: str = "",
    train: list[tuple[str, str]] | None = None,
) -> dict[str, EvalCheck]:
    def lines(rows: list[tuple[str, str]]) -> str:
        return "\n".join(json.dumps({"question": question, "answer": answer}) for question, answer in rows)

    write("test.jsonl", lines(pairs))
    write("train.jsonl", lines(train or [(f"other {question}", answer) for question, answer in pairs]))
    text = f"""
    [experiment]
    name = "demo"
    [task]
    loader = "jsonl"
    train = "train.jsonl"
    test = "test.jsonl"
    split = {{ validation = 0.0 }}
    {task}
    [[arm]]
    name = "zero"
    strategies = ["prompt"]
    {more}
    """
    experiment = load_experiment(write("e.toml", text), registry)
    return {
        check.metric: check
        for check in check_evals(experiment, Evaluator(experiment, load_task(experiment, registry), registry))
    }


CAPITALS = [(f"capital of {place}?", f"{place}ville") for place in ("Aa", "Bb", "Cc", "Dd", "Ee", "Ff")]
LABELS = [(f"message {number}", "refund" if number % 4 else "billing") for number in range(40)]
CHOOSE = 'labels = ["refund", "billing", "other"]\nmetrics = ["accuracy", "macro_f1", "ece", "brier"]'


def test_gold_is_perfect_and_trivial_answers_are_not(write: Write, registry: Registry) -> None:
    found = checks(write, registry, CAPITALS)
    assert set(found) == {"token_f1", "contains", "exact_match", "rouge_l"}
    for check in found.values():
        assert check.scores["gold"] == 1.0 and check.fatal == ""
    assert found["exact_match"].scores == {
        "gold": 1.0, "empty": 0.0, "majority": pytest.approx(1 / 6), "copied input": 0.0, "shuffled gold": 0.0,
    }  # fmt: skip
    stop_if_blind(found.values(), "demo")


def test_labels_stand_at_their_chance_level(write: Write, registry: Registry) -> None:
    found = checks(write, registry, LABELS, CHOOSE)
    accuracy = found["accuracy"].scores
    shares = [count / 40 for count in Counter(answer for _, answer in LABELS).values()]
    assert accuracy["majority"] == max(shares) == 0.75
    assert accuracy["empty"] == accuracy["copied input"] == 0.0
    # Every gold answer goes to another item: by chance it is right with the sum of squared shares.
    assert accuracy["shuffled gold"] == pytest.approx(sum(share**2 for share in shares), abs=0.12)
    assert found["brier"].scores["gold"] == found["ece"].scores["gold"] == 0.0
    assert found["brier"].scores["majority"] == pytest.approx(0.5)
    assert not any(check.fatal for check in found.values())


def test_an_eval_that_cannot_tell_gold_from_trivial_stops(write: Write, registry: Registry) -> None:
    same = [(question, "yes") for question, _ in CAPITALS]
    found = checks(write, registry, same)
    assert "cannot tell the gold answers (1.000) from trivial ones (majority: 1.000)" in found["token_f1"].fatal
    with pytest.raises(ConfigError, match="metric 'token_f1'"):
        stop_if_blind(found.values(), "demo")
    assert any(line.startswith("token_f1 cannot tell") for line in warnings_of(found.values()))


def test_a_copied_input_that_holds_the_answer_is_found(write: Write, registry: Registry) -> None:
    pairs = [(f"is it {answer}?", answer) for _, answer in CAPITALS]
    found = checks(write, registry, pairs, 'primary_metric = "contains"')
    assert "copied input: 1.000" in found["contains"].fatal
    assert not found["exact_match"].fatal


def test_a_metric_that_reads_form_alone_is_only_remarked_on(write: Write, registry: Registry) -> None:
    more = '[[eval]]\nname = "short"\nkind = "regex"\npattern = "^.{0,99}$"'
    found = checks(write, registry, CAPITALS, more=more)
    assert found["short"].fatal == "" and "says nothing about right and wrong" in found["short"].warnings[0]


def test_an_own_function_that_fails_on_the_gold_says_why(write: Write, registry: Registry) -> None:
    write("mine.py", "def judge(answer):\n    return answer.nothing\n")
    more = '[[eval]]\nname = "own"\nkind = "python"\npython = "mine.py:judge"'
    beside = checks(write, registry, CAPITALS, more=more)["own"]
    assert beside.fatal == "" and "AttributeError" in beside.warnings[0]
    deciding = checks(write, registry, CAPITALS, 'primary_metric = "own"', more)["own"]
    assert "cannot be computed on the gold answers" in deciding.fatal and "AttributeError" in deciding.fatal


def test_gold_that_the_readout_would_cut_is_found(write: Write, registry: Registry) -> None:
    pairs = [*CAPITALS, ("list two", "one\ntwo")]
    (warning,) = checks(write, registry, pairs)["exact_match"].warnings
    assert "not 1" in warning and "item" in warning and "stop string '\\n'" in warning


def test_a_gap_below_the_margin_is_said(write: Write, registry: Registry) -> None:
    pairs = [(f"q {number}", "yes" if number else "no") for number in range(40)]
    found = checks(write, registry, pairs, 'metrics = ["exact_match"]', "[decision]\nmargin = 0.1")
    assert "less than the margin" in found["exact_match"].warnings[0]


def test_odd_gold_never_crashes(write: Write, registry: Registry) -> None:
    odd = ["\x1b[31mred\x1b[0m", "عربي", "🙂", "x" * 5000, "a\x00b", "Yes", "yes", " yes "]
    found = checks(write, registry, [(f"q {number}", answer) for number, answer in enumerate(odd)])
    for check in found.values():
        assert set(check.scores) == {"gold", *TRIVIAL}
        assert json.loads(json.dumps(check.to_json()))["metric"] == check.metric


def test_the_table_stands_in_the_report() -> None:
    check = EvalCheck("token_f1", {"gold": 1.0, "empty": 0.0, "majority": None})
    comparison = quickstart()
    task = {**comparison.run["task"], "eval_checks": [EvalCheck("contains", {}).to_json(), check.to_json()]}
    kinds, table = of_comparison(replace(comparison, run={**comparison.run, "task": task}))
    assert kinds.cells == ("gold", "empty", "majority")
    assert [column.header for column in table] == ["token_f1", "contains"]
    assert table[0].cells == ("1.000", "0.000", "–") and table[1].cells == ("–", "–", "–")
    assert of_comparison(comparison)[1] == []
