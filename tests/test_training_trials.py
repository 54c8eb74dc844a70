"""Every strategy that trains, from the experiment file to stored predictions, on a rule that the model cannot know."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_task import TABLES, InProcessWorker, save_data, save_model

from harness.exceptions import ConfigError
from harness.plugins import Registry
from harness.runner.coordinator import run_experiment
from harness.runner.display import PlainDisplay
from harness.runner.prepare import prepare

pytestmark = pytest.mark.usefixtures("one_thread")

HEAD = f"""{TABLES}
    corpus = "docs/*.md"
    labels = ["warm", "cold"]
    [generation]
    max_new_tokens = 2
"""
#: Settings, and whether the strategy must learn the rule: a prompt before a frozen random model only lowers the loss.
ARMS = {
    "lora": ('["lora"]', "lora = { lr = 1e-2, epochs = 12, dora = true, r = 8 }", True),
    "ia3": ('["ia3"]', "ia3 = { lr = 0.1, epochs = 8 }", False),
    "prompt_tuning": ('["prompt_tuning"]', 'prompt_tuning = { lr = 0.3, init = "vocabulary", tokens = 4 }', False),
    "p_tuning": ('["p_tuning"]', 'p_tuning = { lr = 1e-2, encoder = "lstm", hidden_size = 16, tokens = 4 }', False),
    "prefix_tuning": (
        '["prefix_tuning"]',
        'prefix_tuning = { lr = 0.1, init_text = "is it", tokens = 4 }',
        False,
    ),
    "full": ('["full_finetune"]', "full_finetune = { lr = 3e-3, epochs = 20, gradual_unfreezing = 0.4 }", True),
    "head": ('["full_finetune"]', 'full_finetune = { lr = 1e-2, train = "head" }', False),
    "classifier": ('["feature_classifier"]', "feature_classifier = { layer = 0 }", True),
    "pretrained": (
        '["continued_pretraining", "lora"]',
        "continued_pretraining = { lr = 3e-3, block_length = 32, tokens_per_batch = 128 }\n"
        "lora = { lr = 1e-2, epochs = 12, r = 8 }",
        True,
    ),
    "tuned features": (
        '["continued_pretraining", "lora", "feature_classifier"]',
        'continued_pretraining = { adapter = "lora", r = 4, block_length = 32, tokens_per_batch = 128 }\n'
        'lora = { lr = 1e-2, epochs = 12, select_by = "metric", eval_every = 8, r = 8 }',
        True,
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    save_model(folder / "model")
    save_data(folder)
    return folder


def experiment(folder: Path, arms: dict[str, tuple[str, str, bool]], head: str = HEAD) -> Path:
    tables = [f'[[arm]]\nname = "{name}"\nstrategies = {chain}\n{more}' for name, (chain, more, _) in arms.items()]
    path = folder / "experiment.toml"
    path.write_text("\n".join([head, *tables]), encoding="utf-8")
    return path


def run(toml: Path, results: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Callable[..., list[tuple[Any, ...]]]]:
    monkeypatch.setattr("harness.runner.workers.WorkerProcess", InProcessWorker)
    lines: list[str] = []
    outcome = run_experiment(prepare(toml), results / "harness.db", PlainDisplay(lines.append))

    def rows(query: str, *values: Any) -> list[tuple[Any, ...]]:
        with sqlite3.connect(results / "harness.db") as db:
            return db.execute(query, values).fetchall()

    assert not outcome.failed, lines
    return outcome, rows


def test_every_strategy_learns(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = {"zero-shot": ('["prompt"]', "", False)}
    outcome, rows = run(experiment(data, plain | ARMS), tmp_path, monkeypatch)
    right = {arm.name: arm.metrics["accuracy"].value for arm in outcome.comparison.arms}
    assert right["zero-shot"] < 0.7
    assert not {name: right[name] for name, (_, _, learns) in ARMS.items() if learns and right[name] < 0.9}
    for name in ARMS:
        query = (
            "SELECT c.series, c.value FROM curves c JOIN trials t ON t.id = c.trial_id WHERE t.arm = ? ORDER BY c.step"
        )
        series: dict[str, list[float]] = {}
        for key, value in rows(query, name):
            series.setdefault(key, []).append(value)
        for key, values in series.items():
            if key.endswith("/loss"):
                assert values[-1] < values[0], (name, key, values)
        if name == "tuned features":
            metrics = series["lora/validation_metric"]
            assert max(metrics) == 1.0 and len(metrics) == len(series["lora/validation_loss"])
    kinds = set(rows("SELECT t.arm, a.kind FROM artifacts a JOIN trials t ON t.id = a.trial_id"))
    assert {("tuned features", "peft"), ("tuned features", "classify"), ("prefix_tuning", "prefix")} <= kinds
    (scores,) = rows(
        "SELECT label_scores FROM predictions p JOIN trials t ON t.id = p.trial_id WHERE t.arm = 'classifier' LIMIT 1"
    )
    assert "warm" in scores[0] and "cold" in scores[0]
    costs = dict(
        rows(
            "SELECT l.quantity, l.phase FROM ledger l JOIN trials t ON t.id = l.trial_id "
            "WHERE t.arm = 'classifier' AND l.quantity IN ('tokens_in', 'artifact_bytes')"
        )
    )
    assert costs == {"tokens_in": "prepare", "artifact_bytes": "prepare"}


def test_an_artifact_that_changed_on_disk_fails_the_trial(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import load_file, save_file

    from harness.training import deltas

    real = deltas.save_delta

    def damaged(trainable: Any, folder: Path) -> dict[str, Any]:
        saved = real(trainable, folder)
        file = folder / deltas.ADAPTER
        save_file({name: tensor * 1.5 for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
        return saved

    monkeypatch.setattr(deltas, "save_delta", damaged)
    with pytest.raises(AssertionError, match="does not predict what the trained model did"):
        run(experiment(data, {"lora": ARMS["lora"]}), tmp_path, monkeypatch)


# ---------------------------------------------------------------------------------- refused before a model is loaded


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (('["ia3"]', 'ia3 = { target_modules = ["k_proj"], feedforward_modules = ["fc"] }'), "fc"),
        (
            ('["full_finetune"]', 'full_finetune = { train = "head", gradual_unfreezing = 0.5 }'),
            "no layers to unfreeze",
        ),
        (('["full_finetune"]', 'full_finetune = { train = "half" }'), "embeddings_frozen"),
        (('["prompt_tuning"]', 'prompt_tuning = { init = "vocab" }'), "vocabulary"),
        (('["feature_classifier", "lora"]', ""), "Put 'feature_classifier' last"),
        (('["prefix_tuning", "lora"]', ""), "soft prompt that 'prefix_tuning' has trained"),
        (('["continued_pretraining"]', 'continued_pretraining = { select_by = "metric" }'), "have a loss only"),
    ],
    ids=str,
)
def test_settings_that_cannot_work(data: Path, arm: tuple[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prepare(experiment(data, {"wrong": (*arm, False)}))


def test_tasks_that_cannot_be_learnt_from(data: Path) -> None:
    arms = {name: ARMS[name] for name in ("classifier", "pretrained")}
    generated = HEAD.replace('labels = ["warm", "cold"]', "").replace('corpus = "docs/*.md"', "")
    with pytest.raises(ConfigError) as error:
        prepare(experiment(data, arms, generated))
    assert "needs a task with labels" in str(error.value) and "no corpus" in str(error.value)
    more = HEAD.replace('labels = ["warm", "cold"]', 'labels = ["warm", "cold", "hot"]')
    with pytest.raises(ConfigError, match="without a training example: 'hot'"):
        prepare(experiment(data, arms, more))
    prepared = prepare(experiment(data, {"lora": ARMS["lora"]}, more))
    assert any("1 label without a training example: 'hot'" in warning for warning in prepared.task.warnings)
    few = HEAD.replace('validation = "validation.csv"', "split = { validation = 0 }")
    by_metric = {"lora": ('["lora"]', 'lora = { select_by = "metric" }', False)}
    with pytest.raises(ConfigError, match="needs validation examples"):
        prepare(experiment(data, by_metric, few))


def test_pretraining_learns_faster_with_adapters(registry: Registry) -> None:
    entry = registry.get("strategy", "continued_pretraining")
    assert entry.create({"adapter": "lora"}).config.lr == 5e-4
    assert entry.create({"adapter": "lora", "lr": 1e-4}).config.lr == 1e-4
    assert entry.create({}).config.lr == 5e-5
