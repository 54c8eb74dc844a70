"""Three packages of strangers, built and installed: two that work and one that breaks what it can and hurts nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_end_to_end import harness, rows, tiny_model  # noqa: F401  (a fixture)
from third_party_packages import SOURCES, install

Write = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    packages = sorted(path for path in SOURCES.iterdir() if path.is_dir())
    return install(tmp_path_factory.mktemp("installed") / "site", *packages)


@pytest.fixture
def env(site: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}


LOCAL = """
from collections import Counter
from dataclasses import replace

from harness import PromptStrategy, StrategySpec, hookimpl


@hookimpl
def harness_strategies():
    return [StrategySpec("polite", "Says please.", f"{__name__}:Polite")]


class Polite(PromptStrategy):
    def render(self, draft, query, view, state):
        return replace(draft, instruction="Please: WORD.")
"""

EXPERIMENT = """
    plugins = ["./mine.py"]
    [experiment]
    name = "strangers"
    [model]
    ref = "./model"
    dtype = "float32"
    [task]
    loader = "csv"
    train = "train.csv"
    validation = "validation.csv"
    test = "test.csv"
    input = "{question}"
    target = "{answer}"
    metrics = ["token_f1", "brevity"]
    [generation]
    max_new_tokens = 4
    [run]
    observers = [{ use = "event_log", path = "events.jsonl" }, "raises"]
    [[arm]]
    name = "first"
    strategies = ["prompt"]
    [[arm]]
    name = "search"
    strategies = ["instruction_search"]
    instruction_search = { tries = 2 }
    [[arm]]
    name = "mutates"
    strategies = ["mutates"]
    [[arm]]
    name = "drops"
    strategies = ["drops"]
    [[arm]]
    name = "local"
    strategies = ["polite"]
    [[arm]]
    name = "last"
    strategies = [{ use = "prompt", id = "again" }]
"""


def test_strangers_in_one_experiment(
    folder: Path,
    write: Write,
    env: dict[str, str],
    tiny_model: Path,  # noqa: F811
) -> None:
    (folder / "model").symlink_to(tiny_model)
    for split in ("train", "validation", "test"):
        write(f"{split}.csv", "question,answer\n" + "".join(f"{split} {n}?,thing {n}\n" for n in range(6)))
    write("mine.py", LOCAL.replace("WORD", "answer"))
    toml = write("e.toml", EXPERIMENT)
    result = harness(folder, "run", str(toml), "--json", env=env)
    assert result.returncode == 3, result.stderr
    assert "Traceback" not in result.stderr

    report = json.loads(result.stdout)
    status = {arm["name"]: arm["status"] for arm in report["arms"]}
    wanted = {
        "first": "done",
        "search": "done",
        "mutates": "failed",
        "drops": "failed",
        "local": "done",
        "last": "done",
    }
    assert status == wanted, result.stderr
    errors = dict(rows(folder, "SELECT arm, error FROM trials WHERE error IS NOT NULL"))
    named = "strategy 'mutates' of broken-plugin 6.6.6 changed the training examples"
    assert errors["mutates"].startswith(named), errors
    assert "drops" in errors["drops"] and "broken-plugin 6.6.6" in errors["drops"], errors

    # Nobody was hurt: the same arm before and after the broken ones answers the same.
    answers = dict(
        rows(
            folder,
            "SELECT t.arm, group_concat(p.item_id || p.prompt || p.raw, '|') FROM trials t"
            " JOIN predictions p ON p.trial_id = t.id WHERE t.status = 'done' GROUP BY t.arm ORDER BY p.item_id",
        )
    )
    assert answers["first"] == answers["last"]
    assert "Please: answer." in answers["local"] and "Please: answer." not in answers["last"]

    # The search asked the model while it adapted, and paid for it.
    spent = dict(
        rows(
            folder,
            "SELECT l.quantity, sum(l.value) FROM ledger l JOIN trials t ON l.trial_id = t.id"
            " WHERE t.arm = 'search' AND l.phase = 'prepare' GROUP BY 1",
        )
    )
    assert spent["tokens_in"] > 0 and spent["tokens_out"] > 0

    # The metric, the categories and both observers of strangers.
    assert all(0 < arm["metrics"]["brevity"]["value"] <= 1 for arm in report["arms"] if arm["status"] == "done")
    notes = result.stderr
    assert "observer 'raises' of broken-plugin 6.6.6 failed while observing run_started" in notes
    assert "error classifier 'texts' of broken-plugin 6.6.6 returned str, not ErrorLabel" in notes
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    kinds = [event["kind"] for event in events]
    assert kinds[0] == "run_started" and kinds[-1] == "run_finished"
    assert kinds.count("trial_started") == kinds.count("trial_finished") == 6
    finished = {event["arm"]: event["data"]["status"] for event in events if event["kind"] == "trial_finished"}
    assert finished == status

    # The code of the local plugin is part of what was run.
    resolved = json.loads(rows(folder, "SELECT config_resolved FROM runs")[0][0])
    assert set(resolved["plugins"]) == {"./mine.py"} and len(resolved["plugins"]["./mine.py"]) == 64


def test_the_sound_packages_keep_the_contract(folder: Path, env: dict[str, str]) -> None:
    for package in ("instruction-search", "brevity"):
        result = harness(folder, "plugins", "test", package, env=env)
        assert result.returncode == 0, result.stdout + result.stderr
        assert " 0 broken" in result.stdout and "BROKEN" not in result.stdout


def test_the_broken_package_does_not(folder: Path, env: dict[str, str]) -> None:
    listed = harness(folder, "plugins", "list", env=env).stdout
    for wanted in (
        "SystemExit: ends the program when it is imported",
        "there is no hook 'harness_metrcs'. Did you mean 'harness_metrics'?",
        "written for plugin interface 99",
    ):
        assert wanted in listed, listed
    result = harness(folder, "plugins", "test", "broken-plugin", env=env)
    assert result.returncode == 2 and "broken-plugin 6.6.6 cannot be loaded" in result.stderr
    assert harness(folder, "plugins", "test", "brevty", env=env).stderr.count("Did you mean 'brevity'?") == 1


def test_strict_and_restricted(folder: Path, env: dict[str, str]) -> None:
    strict = harness(folder, "plugins", "list", env={**env, "HARNESS_STRICT_PLUGINS": "1"})
    assert strict.returncode == 2 and "3 plugin(s) could not be loaded" in strict.stderr
    kept = harness(folder, "plugins", "list", env={**env, "HARNESS_PLUGINS": "brevity", "HARNESS_STRICT_PLUGINS": "1"})
    assert kept.returncode == 0, kept.stderr
    assert "brevity 0.3.1" in kept.stdout and "left out by HARNESS_PLUGINS" in kept.stdout


def test_pytest_finds_the_fixtures_by_itself(folder: Path, write: Write, env: dict[str, str]) -> None:
    """What an author's own test file looks like, run as authors run it."""
    write(
        "test_mine.py",
        """
        import pytest
        from harness.testing import promises

        @pytest.mark.parametrize("promise", promises("brevity", kind="metric"), ids=str)
        def test_contract(promise):
            promise()

        def test_fixture(fake_context, tiny_labels):
            assert fake_context("instruction_search", tiny_labels).labels == ("billing", "shipping")
        """,
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "harness.testing.pytest_plugin", "test_mine.py"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **env})
    assert result.returncode == 0, result.stdout
    assert "passed" in result.stdout and "failed" not in result.stdout
