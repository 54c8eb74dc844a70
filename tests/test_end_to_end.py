"""The whole path by command: run, resume, re-score, report, show, failures. Real model for the shipped experiments."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
Write = Callable[[str, str], Path]
LIMIT = 8  # items of every split: the whole path, quickly
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.toml"))
SHIPPED = [path for path in EXPERIMENTS if "download = true" not in path.read_text(encoding="utf-8")]


def harness(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **(env or {})},
    )


def run_json(folder: Path, toml: Path | str, *arguments: str) -> dict[str, Any]:
    result = harness(folder, "run", str(toml), "--json", *arguments)
    assert result.returncode == 0, result.stderr
    data: dict[str, Any] = json.loads(result.stdout)
    return data


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "results" / "harness.db") as db:
        return db.execute(query).fetchall()


# ------------------------------------------------------------------------------------------ shipped experiments


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """Runs each shipped experiment once, with a small limit, in a folder of its own."""
    done: dict[str, tuple[Path, dict[str, Any]]] = {}

    def run(name: str) -> tuple[Path, dict[str, Any]]:
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            done[name] = folder, run_json(folder, ROOT / "experiments" / f"{name}.toml", "--limit", str(LIMIT))
        return done[name]

    return run


@pytest.mark.parametrize("toml", SHIPPED, ids=lambda path: path.stem)
def test_shipped_experiment_runs(toml: Path, shipped: Callable[[str], tuple[Path, dict[str, Any]]]) -> None:
    folder, report = shipped(toml.stem)
    assert report["run"]["name"] == toml.stem
    for arm in report["arms"]:
        assert arm["status"] == "done" and arm["n"] == LIMIT, arm["name"]
        for interval in arm["metrics"].values():
            assert interval["low"] <= interval["value"] <= interval["high"]
        assert sum(arm["errors"].values()) == LIMIT
        assert arm["cost"]["tokens_in_per_request"] > 10 and arm["cost"]["usd_per_1k_requests"] > 0
        assert 0 < arm["latency_s"]["p50"] <= arm["latency_s"]["p95"]
        if "lora" in arm["name"] or "tun" in arm["name"]:
            assert arm["cost"]["trained_tokens"] > 0 and arm["cost"]["artifact_bytes"] > 1000
    assert rows(folder, "PRAGMA foreign_key_check") == []


@pytest.mark.parametrize("toml", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_shipped_experiment_passes_its_check(toml: Path, folder: Path) -> None:
    assert f"harness run experiments/{toml.name}" in toml.read_text(encoding="utf-8").splitlines()[0]
    result = harness(folder, "check", str(toml))
    assert result.returncode == 0 and f"{toml}: fine" in result.stdout, result.stderr


def test_a_shipped_experiment_shows_what_tuning_forgot(
    shipped: Callable[[str], tuple[Path, dict[str, Any]]],
) -> None:
    folder, report = shipped("support-intents")
    found = {row["metric"]: row for row in report["benchmarks"]}["acc"]
    assert (found["name"], found["n"], found["primary"]) == ("everyday_science", 60, True)
    assert found["scores"]["zero-shot"]["value"] > 0.4  # four choices: chance is 0.25
    assert found["changes"]["few-shot"]["method"] == "identical predictions"
    assert found["changes"]["lora"]["low"] <= found["changes"]["lora"]["value"] <= found["changes"]["lora"]["high"]
    assert {limit["limit"] for limit in report["limits"]} == {"forgetting"}
    printed = harness(folder, "report").stdout
    assert "Benchmarks" in printed and "everyday_science: 60 items" in printed


def test_quickstart_names_its_arms(shipped: Callable[[str], tuple[Path, dict[str, Any]]]) -> None:
    _, report = shipped("quickstart")
    names = [arm["name"] for arm in report["arms"]]
    assert names == ["zero-shot", "few-shot", "rag", "prompt-tuning", "lora", "full-finetune", "rag+lora"]


def test_the_same_command_again_repeats_nothing(shipped: Callable[[str], tuple[Path, dict[str, Any]]]) -> None:
    folder, first = shipped("quickstart")
    trials = rows(folder, "SELECT id, started_at, finished_at, prediction_digest FROM trials")
    again = run_json(folder, ROOT / "experiments" / "quickstart.toml", "--limit", str(LIMIT))
    assert rows(folder, "SELECT id, started_at, finished_at, prediction_digest FROM trials") == trials
    assert again["run"]["id"] == first["run"]["id"] and again["arms"] == first["arms"]


def test_a_new_metric_scores_without_a_model(
    shipped: Callable[[str], tuple[Path, dict[str, Any]]], tmp_path: Path
) -> None:
    folder, first = shipped("quickstart")
    trials = rows(folder, "SELECT id, started_at FROM trials")
    text = (ROOT / "experiments" / "quickstart.toml").read_text(encoding="utf-8")
    changed = tmp_path / "more.toml"
    changed.write_text(text.replace('"exact_match",', '"exact_match", "rouge_1",'), encoding="utf-8")
    report = run_json(folder, changed, "--limit", str(LIMIT))
    assert rows(folder, "SELECT id, started_at FROM trials") == trials
    assert report["run"]["id"] != first["run"]["id"]
    assert all(arm["metrics"]["rouge_1"]["value"] is not None for arm in report["arms"])


def test_report_and_show_open_every_score(shipped: Callable[[str], tuple[Path, dict[str, Any]]]) -> None:
    folder, _ = shipped("quickstart")
    newest = harness(folder, "report").stdout
    assert "rag+lora" in newest and "zero-shot" in newest
    item = rows(folder, "SELECT item_id FROM predictions LIMIT 1")[0][0]
    shown = harness(folder, "show", "rag", item)
    assert shown.returncode == 0, shown.stderr
    for part in ("<|im_start|>user", "Context:", "token_f1", item):
        assert part in shown.stdout
    wrong = harness(folder, "show", "rga", item)
    assert wrong.returncode == 2 and "rag" in wrong.stderr and "Traceback" not in wrong.stderr


def test_rendered_examples_mark_the_trained_tokens(folder: Path) -> None:
    toml = ROOT / "experiments" / "quickstart.toml"
    result = harness(folder, "show", "--rendered", str(toml), "--arm", "rag+lora", "--count", "1")
    assert result.returncode == 0, result.stderr
    assert "<|im_start|>assistant\n⟦" in result.stdout and "⟦<|im_end|>⟧" in result.stdout
    assert "Context:" in result.stdout
    assert not (folder / "results").exists()


# ------------------------------------------------------------------------------------------------ a tiny model

TINY = """
    [experiment]
    name = "tiny"
    [model]
    ref = "./model"
    dtype = "float32"
    [task]
    loader = "csv"
    train = "train.csv"
    test = "test.csv"
    input = "{question}"
    target = "{answer}"
    [generation]
    max_new_tokens = 4
    [[arm]]
    name = "one"
    strategies = ["prompt"]
    [[arm]]
    name = "two"
    strategies = ["STRATEGY"]
"""


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of two layers with the bundled tokenizer: for what does not depend on what a model knows."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from harness.models.loading import bundled_model_folder

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = AutoTokenizer.from_pretrained(bundled_model_folder())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def tiny(folder: Path, write: Write, tiny_model: Path) -> Callable[[str], Path]:
    """An experiment on the tiny model, whose second arm uses the given strategy."""
    shutil.copytree(tiny_model, folder / "model")
    for split in ("train", "test"):
        write(f"{split}.csv", "question,answer\n" + "".join(f"{split} {n}?,thing {n}\n" for n in range(8)))

    def make(strategy: str) -> Path:
        return write("e.toml", TINY.replace("STRATEGY", strategy))

    return make


def test_identical_arms_tie_and_no_winner_is_crowned(folder: Path, tiny: Callable[[str], Path]) -> None:
    report = run_json(folder, tiny("prompt"))
    assert report["verdict"]["outcome"] != "win"
    change = report["arms"][1]["change"]
    assert change["value"] == 0 and change["p"] == 1


def test_a_planted_effect_wins_and_its_costs_are_in_the_books(
    folder: Path, tiny: Callable[[str], Path], write: Write
) -> None:
    """The answers are two words, which tuning finds at once and a random model never says."""
    toml = tiny("full_finetune")
    for split, count in (("train", 24), ("test", 40)):
        rows = "".join(f"{split} {n} {('red', 'blue')[n % 2]}?,{('yes', 'no')[n % 2]}\n" for n in range(count))
        write(f"{split}.csv", f"question,answer\n{rows}")
    with toml.open("a", encoding="utf-8") as file:
        file.write("full_finetune = { epochs = 40, lr = 0.01, tokens_per_batch = 256 }\n")
    report = run_json(folder, toml)
    assert (report["verdict"]["outcome"], report["verdict"]["arm"]) == ("win", "two")
    one, two = (arm["cost"] for arm in report["arms"])
    assert two["train_flops"] > 0 and one["train_flops"] == 0 and one["flops_per_request"] > 0
    assert two["train_energy_wh"] > 0 and two["cpu_s_per_1k_requests"] > 0 and two["gpu_s_per_1k_requests"] == 0
    assert "training examples: little for tuning" in " ".join(report["advice"])


PLUGIN = """
from harness.hookspecs import StrategySpec, hookimpl
from harness.strategy import PromptStrategy, Strategy


@hookimpl
def harness_strategies():
    return [StrategySpec("raises", "Raises.", "third_party:Raises"), StrategySpec("dies", "Dies.", "third_party:Dies"),
            StrategySpec("cheats", "Shows the answer.", "third_party:Cheats")]


class Raises(Strategy):
    def adapt(self, start, context):
        raise RuntimeError("planted failure")


class Dies(Strategy):
    def adapt(self, start, context):
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)


class Cheats(PromptStrategy):
    def adapt(self, start, context):
        context.fit(start.with_step(context.step()), "weights", None)

    def render(self, draft, query, view, state):
        from dataclasses import replace
        from harness.types import Shot
        return replace(draft, shots=(Shot(draft.input, "the answer", query.id),))
"""


@pytest.fixture
def third_party(write: Write, folder: Path) -> dict[str, str]:
    """A package beside the experiment, found through its entry point."""
    write("site/third_party.py", PLUGIN)
    write("site/third_party-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    write("site/third_party-1.0.dist-info/entry_points.txt", "[harness.plugins]\nmain = third_party\n")
    return {"PYTHONPATH": str(folder / "site")}


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [("raises", "planted failure"), ("dies", "memory ran out"), ("cheats", "would show the answer of")],
)
def test_a_failing_strategy_fails_its_own_trial_only(
    folder: Path, tiny: Callable[[str], Path], third_party: dict[str, str], strategy: str, wanted: str
) -> None:
    result = harness(folder, "run", str(tiny(strategy)), "--json", env=third_party)
    assert result.returncode == 3, result.stderr
    assert wanted in result.stderr and "Traceback" not in result.stderr
    statuses = dict(rows(folder, "SELECT arm, status FROM trials"))
    assert statuses == {"one": "done", "two": "failed"}
    assert wanted in rows(folder, "SELECT error FROM trials WHERE arm = 'two'")[0][0]
    report = json.loads(result.stdout)
    assert [arm["status"] for arm in report["arms"]] == ["done", "failed"]
    assert report["verdict"]["arm"] != "two"


def test_repair_reads_the_answers_of_its_chain(folder: Path, tiny: Callable[[str], Path]) -> None:
    report = run_json(folder, tiny('prompt", "repair'))
    assert [arm["status"] for arm in report["arms"]] == ["done", "done"]
    query = "SELECT raw FROM predictions JOIN trials ON trials.id = trial_id WHERE arm = ? ORDER BY item_id"
    with sqlite3.connect(folder / "results" / "harness.db") as db:
        one, two = (db.execute(query, [arm]).fetchall() for arm in ("one", "two"))
    assert one == two and len(one) == 8
    checks = {check["metric"]: check["scores"] for check in report["run"]["task"]["eval_checks"]}
    assert checks["exact_match"]["gold"] == 1.0 and checks["exact_match"]["empty"] == 0.0
    errors = harness(folder, "errors", "--arm", "two", "--by", "length")
    assert errors.returncode == 0 and "Correct by length" in errors.stdout
    again = harness(folder, "rescore", "--metric", "rouge_1")
    assert again.returncode == 0 and "metric rouge_1: 16 answers judged" in again.stdout
    assert rows(folder, "SELECT count(*) FROM task_vocabularies") == [(1,)]


def test_an_interrupted_run_goes_on_to_the_same_end(folder: Path, tiny: Callable[[str], Path]) -> None:
    """Predictions and training that were stored are used; the result equals an uninterrupted run's."""
    toml = tiny("lora")
    run_json(folder, toml)
    whole = rows(folder, "SELECT trial_id, item_id, raw FROM predictions ORDER BY 1, 2")
    with sqlite3.connect(folder / "results" / "harness.db") as db:  # as a kill in the second trial leaves it
        db.execute("UPDATE trials SET status = 'running' WHERE arm = 'two'")
        db.execute("UPDATE runs SET status = 'running'")
        for table in ("scores", "error_labels", "predictions"):
            db.execute(f"DELETE FROM {table} WHERE trial_id = 2")
    trained = next((folder / "results" / "artifacts").glob("*/lora/adapter_model.safetensors"))
    before = trained.stat().st_mtime_ns
    report = run_json(folder, toml)
    assert rows(folder, "SELECT trial_id, item_id, raw FROM predictions ORDER BY 1, 2") == whole
    assert trained.stat().st_mtime_ns == before
    assert all(arm["status"] == "done" for arm in report["arms"])
    assert report["arms"][1]["cost"]["trained_tokens"] > 0


# -------------------------------------------------------------------------------------------------- benchmarks

BENCHMARKS = """
    [benchmarks]
    tasks = ["everyday_science.yaml"]
    limit = 6
    [benchmarks.data.everyday_science]
    test = "everyday_science.jsonl"
    [decision]
    limits = { forgetting = 0.9 }
"""


def with_benchmarks(folder: Path, toml: Path, tables: str = BENCHMARKS) -> Path:
    for suffix in ("yaml", "jsonl"):
        shutil.copy(ROOT / "experiments" / "data" / f"everyday_science.{suffix}", folder)
    toml.write_text(toml.read_text(encoding="utf-8") + textwrap.dedent(tables), encoding="utf-8")
    return toml


def test_benchmarks_are_added_without_predicting_again(folder: Path, tiny: Callable[[str], Path]) -> None:
    toml = tiny("lora")
    assert run_json(folder, toml)["benchmarks"] == []
    before = rows(folder, "SELECT id, started_at, finished_at FROM trials")
    report = run_json(folder, with_benchmarks(folder, toml))
    assert rows(folder, "SELECT id, started_at, finished_at FROM trials") == before
    found = {row["metric"]: row for row in report["benchmarks"]}
    assert set(found) == {"acc", "acc_norm"} and found["acc"]["primary"] and found["acc"]["n"] == 6
    assert set(found["acc"]["scores"]) == {"one", "two"} and set(found["acc"]["changes"]) == {"two"}
    assert [limit["state"] for limit in report["limits"] if limit["arm"] == "one"] == ["met"]
    models = rows(folder, "SELECT model_key FROM trials")
    assert len(set(models)) == 2 and None not in models
    assert "Benchmarks" in harness(folder, "report").stdout
    measured = rows(folder, "SELECT id, created_at FROM benchmarks")
    assert run_json(folder, toml)["benchmarks"] == report["benchmarks"]
    assert rows(folder, "SELECT id, created_at FROM benchmarks") == measured


def test_arms_with_the_same_model_share_one_measurement(folder: Path, tiny: Callable[[str], Path]) -> None:
    report = run_json(folder, with_benchmarks(folder, tiny("prompt")))
    assert len(rows(folder, "SELECT id FROM benchmarks")) == 2  # two metrics of one task on one model
    change = report["benchmarks"][0]["changes"]["two"]
    assert (change["value"], change["low"], change["high"]) == (0, 0, 0)
    assert "the same model as the baseline's" in harness(folder, "report").stdout


def test_benchmarks_that_cannot_be_measured_are_refused_before_the_run(
    folder: Path, tiny: Callable[[str], Path]
) -> None:
    toml = with_benchmarks(folder, tiny("prompt"), '[benchmarks]\ntasks = ["arc_esy", "hellaswag"]\nlimits = 3\n')
    result = harness(folder, "check", str(toml))
    assert result.returncode == 2 and "benchmarks.limits: unknown key" in result.stderr
    assert "Did you mean 'limit'?" in result.stderr
    toml.write_text(toml.read_text(encoding="utf-8").replace("limits = 3\n", ""), encoding="utf-8")
    result = harness(folder, "check", str(toml), env={"HF_HOME": str(folder / "no-hub")})
    assert result.returncode == 2 and "arc_easy" in result.stderr
    assert "[benchmarks.data.hellaswag]" in result.stderr and 'validation = "…"' in result.stderr


def test_a_failing_benchmark_keeps_the_answers(folder: Path, tiny: Callable[[str], Path]) -> None:
    toml = with_benchmarks(folder, tiny("prompt"))
    task = folder / "everyday_science.yaml"
    good = task.read_text(encoding="utf-8")
    task.write_text(good.replace("choices.label.index", "choices.label.no_such"), encoding="utf-8")
    result = harness(folder, "run", str(toml), "--json")
    assert result.returncode == 3 and "everyday_science" in result.stderr and "Traceback" not in result.stderr
    report = json.loads(result.stdout)
    assert [arm["status"] for arm in report["arms"]] == ["done", "done"] and report["benchmarks"] == []
    task.write_text(good, encoding="utf-8")
    assert len(run_json(folder, toml)["benchmarks"]) == 2
