"""The keys: what is repeated when something changes, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.plugins import Registry
from harness.runner.evaluate import Evaluator
from harness.runner.plan import PlannedTrial
from harness.runner.prepare import prepare

TOML = """
    [experiment]
    name = "keys"
    [task]
    loader = "csv"
    train = "train.csv"
    test = "test.csv"
    input = "{question}"
    target = "{answer}"
    metrics = ["exact_match"]
    [generation]
    max_new_tokens = 8
    [[arm]]
    name = "tuned"
    strategies = ["rag", "lora"]
    lora = { r = 4 }
"""
Write = Callable[[str, str], Path]


@pytest.fixture
def trial(write: Write) -> Callable[..., PlannedTrial]:
    rows = "question,answer\n" + "".join(f"what is {n}?,thing {n}\n" for n in range(20))

    def make(*changes: tuple[str, str], train: str = rows, test: str = rows.replace("what", "which")) -> PlannedTrial:
        write("train.csv", train)
        write("test.csv", test)
        write("docs/a.md", "Some text about things.\n")
        text = TOML.replace('target = "{answer}"', 'target = "{answer}"\n    corpus = "docs/*.md"')
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        return prepare(write("e.toml", text)).plan.trials[0]

    return make


def test_equal_files_have_equal_keys(trial: Callable[..., PlannedTrial]) -> None:
    assert trial() == trial()


@pytest.mark.parametrize(
    ("change", "retrains"),
    [
        (("r = 4", "r = 8"), True),
        (("[task]", "[model]\n    dtype = 'float32'\n    [task]"), None),  # retrains where auto is not float32
        (('input = "{question}"', 'input = "Q: {question}"'), True),
        (("max_new_tokens = 8", "max_new_tokens = 9"), False),
    ],
)
def test_what_changes_a_prediction(
    trial: Callable[..., PlannedTrial], change: tuple[str, str], retrains: bool | None
) -> None:
    before, after = trial(), trial(change)
    if retrains is None:
        return
    assert (before.adaptation_key != after.adaptation_key) is retrains
    assert before.prediction_key != after.prediction_key


@pytest.mark.parametrize(
    "change",
    [
        ('metrics = ["exact_match"]', 'metrics = ["exact_match", "contains"]'),
        ("[generation]", "[cost]\n    usd_per_hour = 1.0\n    [generation]"),
        ('name = "keys"', 'name = "another"'),
        ('name = "tuned"', 'name = "renamed"'),
    ],
)
def test_metrics_prices_and_names_repeat_nothing(trial: Callable[..., PlannedTrial], change: tuple[str, str]) -> None:
    before, after = trial(), trial(change)
    assert (before.adaptation_key, before.prediction_key) == (after.adaptation_key, after.prediction_key)


def test_new_test_data_predicts_without_retraining(trial: Callable[..., PlannedTrial]) -> None:
    before = trial()
    after = trial(test="question,answer\nnew one?,new\n")
    assert before.adaptation_key == after.adaptation_key and before.prediction_key != after.prediction_key


def test_readout_options_predict_again_and_never_retrain(trial: Callable[..., PlannedTrial]) -> None:
    def reading(readout: str) -> PlannedTrial:
        return trial(('metrics = ["exact_match"]', f'metrics = ["exact_match"]\n    readout = {readout}'))

    plain = reading('"choose"')
    assert reading('{ kind = "choose", normalise = "none" }') == plain
    written = ['{ normalise = "tokens" }', '{ by = "generation" }', "{ calibrate = true }"]
    others = [reading(readout) for readout in [*written, '{ calibrate = true, content_free = ["?"] }']]
    assert {other.adaptation_key for other in others} == {plain.adaptation_key}
    assert len({plain.prediction_key, *(other.prediction_key for other in others)}) == 5


def test_score_versions_follow_settings(write: Write, registry: Registry, trial: Callable[..., PlannedTrial]) -> None:
    trial(('metrics = ["exact_match"]', 'metrics = [{ use = "numeric", relative = 0.1 }]'))
    one = prepare(Path("e.toml"))
    trial(('metrics = ["exact_match"]', 'metrics = [{ use = "numeric", relative = 0.2 }]'))
    two = prepare(Path("e.toml"))
    versions = [Evaluator(p.experiment, p.task, p.registry).versions["metrics"] for p in (one, two)]
    assert versions[0] != versions[1]
