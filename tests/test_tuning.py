"""Sweeps and learning curves from the experiment file to the report, on a tiny model in this process."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_task import InProcessWorker, save_data, save_model

from harness.analysis.economics import arm_cost, search_ledger
from harness.analysis.rows import CandidateRows, Decision, Prices, TrialRows
from harness.exceptions import ConfigError
from harness.report.json import to_json_text
from harness.report.markdown import to_markdown
from harness.report.terminal import render
from harness.runner.coordinator import Outcome, run_experiment
from harness.runner.display import PlainDisplay
from harness.runner.prepare import prepare
from harness.types import LedgerEntry

pytestmark = pytest.mark.usefixtures("one_thread")

HEAD = """
[experiment]
name = "colours"
seeds = [0, 1]
[model]
ref = "./model"
dtype = "float32"
[task]
loader = "csv"
train = "train.csv"
validation = "validation.csv"
test = "test.csv"
input = "{question}"
labels = ["warm", "cold"]
[cost]
usd_per_hour = 1.0
usd_per_1k_train_tokens = 0.01
usd_per_1k_input_tokens = 0.01
usd_per_1k_output_tokens = 0.02
[[arm]]
name = "zero-shot"
strategies = ["prompt"]
"""
SWEPT = """
[[arm]]
name = "lora"
strategies = ["lora"]
lora = { epochs = 8, r = 8 }
sweep = { "lora.lr" = [1e-6, 1e-2] }
"""
SHOTS = '[[arm]]\nname = "shots"\nstrategies = ["prompt"]\nsweep = { "prompt.k" = [0, 4] }\n'
CURVE = "[learning_curve]\nsizes = [96, 24, 8, 48]\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    save_model(folder / "model")
    save_data(folder)
    return folder


class Ran:
    """One run of an experiment file, and its database."""

    def __init__(self, toml: Path, results: Path) -> None:
        self.lines: list[str] = []
        self.results = results / "harness.db"
        self.outcome: Outcome = run_experiment(prepare(toml), self.results, PlainDisplay(self.lines.append))
        self.arms = {arm.name: arm for arm in self.outcome.comparison.arms}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.results) as db:
            return db.execute(query).fetchall()


@pytest.fixture
def run(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Ran]:
    monkeypatch.setattr("harness.runner.workers.WorkerProcess", InProcessWorker)

    def run_text(text: str) -> Ran:
        toml = data / "experiment.toml"
        toml.write_text(HEAD + text, encoding="utf-8")
        return Ran(toml, tmp_path)

    return run_text


def printed(ran: Ran) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    render(ran.outcome.comparison, console)
    return console.export_text()


def test_the_better_candidate_runs_with_all_seeds_and_is_charged(run: Callable[[str], Ran]) -> None:
    ran = run(SWEPT + SHOTS)
    assert not ran.outcome.failed, ran.lines
    search = ran.arms["lora"].search
    assert search is not None and search.settings == {"lora.lr": 1e-2}
    assert (search.candidates, search.failed, search.n, search.metric) == (2, 0, 16, "accuracy")
    assert search.low is not None and search.low < search.chosen == search.high  # type: ignore[operator]
    assert ran.arms["zero-shot"].search is None and ran.arms["lora"].seeds == (0, 1)
    # The chosen candidate's training is its first trial's; the other one's training and all answers are the search's.
    keys = dict(ran.rows("SELECT seed, adaptation_key FROM trials WHERE arm = 'lora'"))
    chosen = ran.rows("SELECT adaptation_key, chosen FROM candidates JOIN run_candidates ON key = candidate_key"
                      " WHERE arm = 'lora' ORDER BY position")  # fmt: skip
    assert [mark for _, mark in chosen] == [0, 1] and chosen[1][0] == keys[0] != keys[1]
    folders = {path.parent.name for path in ran.results.parent.glob("artifacts/*/adaptation.json")}
    assert {key[:24] for key in (*keys.values(), chosen[0][0])} <= folders
    cost = ran.arms["lora"].cost
    assert (
        cost.train_usd
        and cost.search_usd
        and cost.one_off_usd == pytest.approx(cost.train_usd + cost.search_usd + (cost.prepare_usd or 0))
    )
    assert cost.search_usd > 0.5 * cost.train_usd and "search_usd" not in cost.lower_bounds
    assert ran.arms["zero-shot"].cost.search_usd == 0
    # Nothing but validation examples was answered while the search went on.
    assert {n for (n,) in ran.rows("SELECT n FROM candidates")} == {16}
    for text in (printed(ran), to_markdown(ran.outcome.comparison)):
        for part in ("Tuning", "lora.lr = 0.01", "as written", "16 validation examples"):
            assert part in text, text
    assert '"lora.lr": 0.01' in to_json_text(ran.outcome.comparison)


def test_stored_candidates_are_not_measured_again(run: Callable[[str], Ran]) -> None:
    first = run(SWEPT)
    made = first.rows("SELECT key, created_at FROM candidates ORDER BY created_at")
    trials = first.rows("SELECT id, started_at FROM trials")
    again = run(SWEPT)
    assert again.outcome.run_id == first.outcome.run_id
    assert again.rows("SELECT key, created_at FROM candidates ORDER BY created_at") == made
    assert again.rows("SELECT id, started_at FROM trials") == trials
    assert again.arms == first.arms
    # Another value: one candidate more, and the same choice needs no new trial.
    wider = run(SWEPT.replace("[1e-6, 1e-2]", "[1e-6, 1e-7, 1e-2]"))
    assert wider.rows("SELECT key, created_at FROM candidates ORDER BY created_at")[:2] == made
    assert len(wider.rows("SELECT key FROM candidates")) == 3
    assert wider.rows("SELECT id, started_at FROM trials") == trials
    assert wider.outcome.run_id != first.outcome.run_id
    assert first.rows("PRAGMA foreign_key_check") == []


def test_a_failed_candidate_costs_the_others_nothing(run: Callable[[str], Ran]) -> None:
    swept = SWEPT.replace('{ "lora.lr" = [1e-6, 1e-2] }', '{ "lora.target_modules" = [["nothing"], "all-linear"] }')
    ran = run(swept)
    assert not ran.outcome.failed, ran.lines
    search = ran.arms["lora"].search
    assert search is not None and (search.candidates, search.failed) == (2, 1)
    assert search.settings == {"lora.target_modules": "all-linear"}
    assert ran.arms["lora"].cost.search_usd is not None and "search_usd" in ran.arms["lora"].cost.lower_bounds
    ran = run(swept.replace('"all-linear"]', '["nobody"]]'))
    assert ran.outcome.failed == 2 and ran.arms["lora"].status == "failed"
    assert "all 2 candidates of its sweep failed; the first:" in (ran.arms["lora"].error or "")
    assert ran.arms["zero-shot"].status == "done"


def test_a_learning_curve_has_its_own_trials_and_a_fit(run: Callable[[str], Ran]) -> None:
    tuned = SWEPT.replace('sweep = { "lora.lr" = [1e-6, 1e-2] }\n', "").replace("r = 8", "r = 8, lr = 1e-2")
    ran = run(tuned + CURVE)
    assert not ran.outcome.failed, ran.lines
    (curve,) = ran.outcome.comparison.curves
    assert curve.arm == "lora" and [point.size for point in curve.points] == [8, 24, 48, 96]
    assert curve.points[-1].score.value == pytest.approx(
        ran.rows("SELECT avg(value) FROM scores JOIN trials ON trials.id = trial_id WHERE arm = 'lora' AND seed = 0"
                 " AND metric = 'accuracy' AND trial_id IN (SELECT trial_id FROM run_trials)")[0][0]
    )  # fmt: skip
    assert curve.points[0].score.value < curve.points[-1].score.value  # type: ignore[operator]
    assert curve.fit is not None and curve.doubled_size == 192 and curve.doubled is not None
    links = ran.rows("SELECT size, trial_id FROM run_curve_trials ORDER BY size")
    ordinary = {trial for (trial,) in ran.rows("SELECT trial_id FROM run_trials")}
    assert [trial in ordinary for _, trial in links] == [False, False, False, True]  # all examples: the arm's own trial
    assert all(len(arm.seeds) == 2 for arm in ran.outcome.comparison.arms if arm.name == "lora")
    for text in (printed(ran), to_markdown(ran.outcome.comparison)):
        for part in ("Learning curve", "With more training data", "192 examples, twice the data"):
            assert part in text, text
    started = ran.rows("SELECT id, started_at FROM trials")
    again = run(tuned + CURVE)
    assert again.rows("SELECT id, started_at FROM trials") == started
    assert again.outcome.comparison.curves == ran.outcome.comparison.curves
    few = run(tuned + "[learning_curve]\nsizes = [8]\n")
    (curve,) = few.outcome.comparison.curves
    assert [point.size for point in curve.points] == [8, 96] and curve.fit is None
    assert "no fit, because a fit needs at least 3 sizes" in printed(few)


def test_tuning_that_cannot_work_is_refused_before_the_run(data: Path, tmp_path: Path) -> None:
    head = HEAD.replace("./model", str(data / "model"))
    text = head.replace('validation = "validation.csv"', "split = { validation = 0.0 }")
    for name in ("train", "validation", "test"):
        (tmp_path / f"{name}.csv").write_text((data / f"{name}.csv").read_text(encoding="utf-8"), encoding="utf-8")
    toml = tmp_path / "experiment.toml"
    toml.write_text(text + SWEPT + "[learning_curve]\nsizes = [50, 500]\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        prepare(toml)
    for part in ("decided on validation examples", "500 is more than the 96 training examples"):
        assert part in str(caught.value)
    toml.write_text(head + CURVE, encoding="utf-8")
    with pytest.raises(ConfigError, match="no arm has a strategy that trains"):
        prepare(toml)


def test_the_search_is_paid_once_whatever_the_number_of_seeds() -> None:
    def entry(phase: Any, quantity: str, value: float | None) -> LedgerEntry:
        return LedgerEntry(phase, quantity, value, "", "measured" if value is not None else "unknown")

    costs = [entry("train", "wall_s", 3600.0), entry("train", "seen_tokens", 9.0), entry("predict", "wall_s", 360.0),
             entry("predict", "peak_memory_bytes", 5.0)]  # fmt: skip
    one = CandidateRows({"lora.lr": 1}, "accuracy", 0.5, 16, chosen=False, costs=costs)
    extra = search_ledger([one, replace(one, chosen=True)])
    assert [(row.phase, row.quantity, row.value) for row in extra] == [
        ("train", "search_wall_s", 3600.0),
        ("train", "search_seen_tokens", 9.0),
        ("prepare", "search_wall_s", 360.0),
        ("prepare", "search_wall_s", 360.0),
    ]
    trials = [TrialRows("a", seed, "done", ledger=[entry("train", "wall_s", 1800.0), *extra]) for seed in (0, 1)]
    cost = arm_cost(trials, Prices(usd_per_hour=1.0), Decision())
    assert cost.train_usd == pytest.approx(0.5) and cost.prepare_usd == 0 and cost.search_usd == pytest.approx(1.2)
    assert cost.one_off_usd == pytest.approx(1.7)
    assert cost.prepare_wall_s == 0 and cost.train_wall_s == 1800
