"""A plugin's fault is caught, named with package and version, and costs what used it and nothing else."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from harness.config import Use, load_experiment
from harness.exceptions import ConfigError, HarnessError, PluginError, TrialError
from harness.guard import Lent, MutationError, blamed, expect_hits, limited, untouched
from harness.hookspecs import MetricSpec, ModelSpec, StrategySpec
from harness.plugins import LOCAL, Origin, Registered, Registry, load_plugins
from harness.rendering import Index
from harness.runner import process, worker
from harness.runner.evaluate import Evaluator, Judge
from harness.tasks.task import load_task
from harness.types import Document, Example, Prediction, Query

sys.path.insert(0, str(Path(__file__).parent / "third_party" / "broken-plugin"))
from broken_plugin import faults

Write = Callable[[str, str], Path]


@pytest.fixture
def broken() -> Registry:
    """The installed plugins and those of the broken package."""
    registry = load_plugins()
    registry.add(faults, Origin("faults", "broken-plugin", "6.6.6"))
    assert registry.origins[-1].ok
    return registry


# ----------------------------------------------------------------------------------------------- the guard


def test_what_a_plugin_raises_is_named() -> None:
    named = r"metric 'm' of pkg 1 failed while judging: ZeroDivisionError"
    with pytest.raises(PluginError, match=named), blamed("metric 'm' of pkg 1", "judging"):
        _ = 1 / 0
    with pytest.raises(PluginError, match="SystemExit"), blamed("m", "judging"):
        sys.exit(0)
    with pytest.raises(TrialError, match=r"^for people$"), blamed("m", "judging"):
        raise TrialError("for people")


def test_what_a_plugin_changes_is_named() -> None:
    lent = {"a": [1]}
    named = "m changed the settings it was given while working"
    with pytest.raises(MutationError, match=named), untouched("m", "working", settings=lent, rest=(1, 2)):
        lent["a"].append(2)


@pytest.mark.parametrize(
    "change",
    [
        lambda example: example.query.fields.update(question="other"),
        lambda example: example.query.fields.pop("question"),
        lambda example: object.__setattr__(example, "references", ("other",)),
        lambda example: example.query.__dict__.update(group="g"),
    ],
)
def test_every_change_of_what_was_lent_shows(change: Any) -> None:
    lent = Lent(examples=[Example(Query("1", {"question": "q"}), ("gold",))], odd={math.nan, "x"})
    with lent.untouched("a", "judging"), lent.untouched("b", "judging"):
        pass
    with pytest.raises(MutationError, match="c changed the examples"), lent.untouched("c", "judging"):
        change(lent.values["examples"][0])


def test_a_plugin_that_hangs_is_stopped() -> None:
    started = time.monotonic()
    with pytest.raises(PluginError, match=r"m took longer than 0.05 s while judging"), limited("m", "judging", 0.05):
        while True:
            try:
                time.sleep(10)
            except Exception:
                continue
    assert time.monotonic() - started < 9
    with limited("m", "judging", 5):  # the timer is off again
        pass
    time.sleep(0.06)


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (None, "returned NoneType for 2 queries"),
        ([[(0, 1.0)]], "returned 1 lists for 2 queries"),
        ([[(0, 1.0)], ["x"]], "something else than pairs"),
        ([[(0, 1.0)], [(9, 1.0)]], "outside the 3 documents"),
        ([[(0, 1.0)], [(1, 1.0), (1, 0.5)]], "a document twice"),
        ([[(0, 1.0)], [(0, 1.0), (1, 2.0)]], "not ordered by score"),
        ([[(0, 1.0)], [(0, float("nan")), (1, 2.0)]], "not ordered by score"),
        ([[(0, 3.0)], [(0, 3.0), (1, 2.0), (2, 1.0)]], "3 documents where 2 were asked for"),
    ],
)
def test_a_retrievers_answer_is_checked(found: Any, wanted: str) -> None:
    with pytest.raises(PluginError, match=wanted):
        expect_hits("retriever 'r' of pkg 1", found, queries=2, k=2, size=3)


def test_a_retriever_that_drops_a_query_is_named(broken: Registry) -> None:
    entry = broken.get("retriever", "short")
    index = Index(entry.create(), (Document("a", "a"), Document("b", "b")), entry.label)
    with pytest.raises(PluginError, match=r"retriever 'short' of broken-plugin 6\.6\.6 returned 1 lists for 2 queries"):
        index.search(["x", "y"], 1)


# ------------------------------------------------------------------------------------------------ judges


TASK = """
    [experiment]
    name = "judged"
    [task]
    loader = "csv"
    train = "data.csv"
    test = "test.csv"
    metrics = ["exact_match"]
    [run]
    silence_limit_s = 0.1
    [[arm]]
    name = "one"
    strategies = ["prompt"]
"""


@pytest.fixture
def judged(write: Write, broken: Registry) -> Callable[[str], tuple[Evaluator, list[Prediction]]]:
    write("data.csv", "question,answer\nred?,apple\nblue?,sky\n")
    write("test.csv", "question,answer\ngreen?,grass\nyellow?,sun\n")

    def make(metric: str) -> tuple[Evaluator, list[Prediction]]:
        experiment = load_experiment(write("e.toml", TASK.replace("exact_match", metric)), broken)
        task = load_task(experiment, broken)
        made = [Prediction(e.id, "p", e.references[0], e.references[0], "stop", 1, 1) for e in task.test]
        return Evaluator(experiment, task, broken, limit_s=experiment.run.silence_limit_s), made

    return make


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ("sleeps", "took longer than 0.1 s"),
        ("divides", "ZeroDivisionError"),
        ("rewrites", "changed the examples it was given"),
        ("not_a_number", "not JSON compliant"),
    ],
)
def test_a_bad_metric_is_named_and_leaves_the_gold_alone(judged: Any, metric: str, wanted: str) -> None:
    evaluator, predictions = judged(metric)
    with pytest.raises(PluginError, match=wanted) as caught:
        evaluator.score(predictions, evaluator.metrics[0])
    assert f"metric '{metric}' of broken-plugin 6.6.6" in str(caught.value)
    assert [example.query.fields["question"] for example in evaluator.examples.values()] == ["green?", "yellow?"]


def test_what_a_failing_metric_changed_is_not_blamed_on_the_next(judged: Any) -> None:
    class Spoils:
        def record(self, prediction: Prediction, example: Example, context: Any) -> Any:
            example.query.fields["question"] = "spoilt"  # type: ignore[index]
            raise ValueError

    evaluator, predictions = judged("exact_match")
    (sound,) = evaluator.metrics
    with pytest.raises(PluginError, match="metric 'spoils' of here failed"):
        evaluator.score(predictions, Judge("spoils", "1", Spoils(), sound.spec, "here"))
    assert len(evaluator.score(predictions, sound)) == 2
    assert [example.query.fields["question"] for example in evaluator.examples.values()] == ["green?", "yellow?"]


def test_a_sound_metric_passes_the_guard(judged: Any) -> None:
    evaluator, predictions = judged("exact_match")
    records = evaluator.score(predictions, evaluator.metrics[0])
    assert [record["value"] for record in records.values()] == [1.0, 1.0]


def test_a_classifier_that_cannot_start_costs_its_categories_only(judged: Any, broken: Registry) -> None:
    from harness.hookspecs import ErrorClassifierSpec

    spec = ErrorClassifierSpec("gone", "Gone.", "broken_plugin.faults:Gone", categories=("x",))
    broken.entries.append(Registered("error classifier", spec, Origin("faults", "broken-plugin", "6.6.6")))
    evaluator, _ = judged("exact_match")
    assert "error classifier 'gone' of broken-plugin 6.6.6" in evaluator.unusable[0]
    assert "surface" in [judge.id for judge in evaluator.classifiers]


# ------------------------------------------------------------------------------------------ worker processes


def silent_worker(connection: Connection, setup: Any) -> None:
    """Does what `setup` says, in place of the real worker."""

    def send(kind: str, value: Any) -> None:
        connection.send_bytes(json.dumps([kind, value]).encode())

    send("ready", {})
    connection.recv_bytes()
    send("doing", "strategy 'slow' of pkg 2.1 adapted")
    while setup["busy"]:
        send("progress", {})
        time.sleep(0.02)
    if setup["exit"] is not None:
        sys.exit(setup["exit"])
    time.sleep(60)


@pytest.mark.parametrize(
    ("setup", "limits", "wanted"),
    [
        ({"busy": False, "exit": None}, {"silence_s": 0.3}, "gave no sign for 0.3 s and was ended"),
        ({"busy": True, "exit": None}, {"silence_s": 30, "limit_s": 0.5}, "took longer than 0.5 s and was ended"),
        ({"busy": False, "exit": 7}, {"silence_s": 30}, "the worker process ended: exit code 7"),
    ],
    ids=["hangs", "too long", "exits"],
)
def test_a_trial_that_does_not_end_is_ended(
    monkeypatch: pytest.MonkeyPatch, setup: dict[str, Any], limits: dict[str, float], wanted: str
) -> None:
    monkeypatch.setattr(worker, "main", silent_worker)
    running = process.WorkerProcess(setup)
    running.wait_ready()
    kind, value = list(running.run({}, **limits))[-1]
    assert kind == "failed"
    assert wanted in value["error"] and "while strategy 'slow' of pkg 2.1 adapted" in value["error"]
    running.close(force=True)
    assert not running.alive


# ------------------------------------------------------------------------------------------------- needs


def test_check_says_what_is_needed_and_lacking(write: Write, registry: Registry) -> None:
    from harness.runner.plan import check_arms

    write("data.csv", "question,answer\nred?,apple\nblue?,sky\n")
    specs = [
        Registered("strategy", spec, Origin("m", "pkg", "1"))
        for spec in (
            StrategySpec("tunes", "T.", "broken_plugin.faults:WrongType", needs=("weights", "corpus")),
            StrategySpec("imports", "I.", "broken_plugin.faults:WrongType", packages=("no-such-package",)),
        )
    ]
    metric = Registered(
        "metric", MetricSpec("odds", "O.", "broken_plugin.faults:Divides", needs=("labels",)), Origin("m", "pkg", "1")
    )
    remote = ModelSpec("remote", "R.", "x:y", provides=("loglikelihoods",))
    model = Registered("model", remote, Origin("m", "pkg", "1"))
    own = Registry(registry.origins, [*registry.entries, *specs, metric, model])
    text = """
    [experiment]
    name = "needy"
    [model]
    ref = "remote"
    [task]
    loader = "csv"
    train = "data.csv"
    test = "data.csv"
    metrics = ["odds"]
    [[arm]]
    name = "one"
    strategies = ["tunes", "imports"]
    [[arm]]
    name = "two"
    strategies = ["rag"]
    rag = { retriever = { use = "dense" } }
    """
    experiment = load_experiment(write("e.toml", text), own)
    with pytest.raises(ConfigError) as caught:
        check_arms(experiment, load_task(experiment, own), own)
    said = str(caught.value)
    for wanted in (
        "metric 'odds' needs a task with labels",
        "needs the model's weights, which this model does not give",
        "needs documents to retrieve from",
        "needs the package no-such-package: pip install no-such-package",
    ):
        assert wanted in said, said
    assert said.count("needs documents to retrieve from") == 2  # the strategy's own words are not said twice


# ------------------------------------------------------------------------------------------- local plugins


LOCAL_PLUGIN = """
from harness import MetricSpec, PromptStrategy, StrategySpec, hookimpl


@hookimpl
def harness_strategies():
    return [StrategySpec("mine", "Mine.", f"{__name__}:Mine")]


@hookimpl
def harness_metrics():
    return [MetricSpec("own", "Own.", f"{__name__}:Own")]


class Mine(PromptStrategy):
    def render(self, draft, query, view, state):
        return draft


class Own:
    def record(self, prediction, example, context):
        return {"value": float(prediction.parsed in example.references)}

    def aggregate(self, records):
        return sum(record["value"] for record in records) / len(records)
"""

WITH_LOCAL = """
    plugins = ["./mine.py"]
    [experiment]
    name = "local"
    [model]
    ref = "./model"
    [task]
    loader = "csv"
    train = "data.csv"
    test = "data.csv"
    metrics = ["own"]
    [[arm]]
    name = "one"
    strategies = ["mine"]
"""


@pytest.fixture
def local(write: Write) -> Path:
    write("data.csv", "question,answer\nred?,apple\nblue?,sky\n")
    write("model/config.json", "{}")
    write("model/model.safetensors", "not read")
    write("mine.py", LOCAL_PLUGIN)
    return write("e.toml", WITH_LOCAL)


def test_a_local_plugin_enters_the_keys_by_its_digest(local: Path) -> None:
    from harness.runner.keys import score_version
    from harness.runner.prepare import prepare

    first = prepare(local)
    assert first.registry.get("strategy", "mine").origin.distribution == LOCAL
    assert list(first.local) == ["./mine.py"]
    assert prepare(local).plan == first.plan
    (local.parent / "mine.py").write_text(LOCAL_PLUGIN + "\n# edited\n", encoding="utf-8")
    edited = prepare(local)
    assert edited.plan.trials[0].adaptation_key != first.plan.trials[0].adaptation_key
    versions = [score_version(found.registry.get("metric", "own"), {}) for found in (first, edited)]
    assert versions[0] != versions[1]


def test_check_names_local_plugins_and_can_refuse_them(local: Path) -> None:
    from click.testing import CliRunner

    from harness.cli.check import command

    shown = CliRunner().invoke(command, [str(local)])
    assert shown.exit_code == 0, shown.output
    assert "plugin  ./mine.py, sha256" in shown.output
    refused = CliRunner().invoke(command, [str(local), "--no-local-code"])
    assert isinstance(refused.exception, ConfigError)
    assert "line 1, plugins" in str(refused.exception) and "--no-local-code is given" in str(refused.exception)


@pytest.mark.parametrize(
    ("named", "code", "wanted"),
    [
        ('["../mine.py"]', LOCAL_PLUGIN, "outside the experiment file's folder"),
        ('["./mine.txt"]', LOCAL_PLUGIN, "no Python file"),
        ('["./none.py"]', LOCAL_PLUGIN, "is not there"),
        ('"./mine.py"', LOCAL_PLUGIN, "must be a list of file names"),
        ('["./mine.py"]', "1 / 0", "line 1 fails to load: ZeroDivisionError"),
        ('["./mine.py"]', "x = 1", "provides nothing"),
        ('["./mine.py"]', LOCAL_PLUGIN.replace("harness_metrics", "harness_metricz"), "Did you mean 'harness_metrics'"),
    ],
)
def test_a_local_plugin_that_cannot_be_used_is_explained(local: Path, named: str, code: str, wanted: str) -> None:
    from harness.runner.prepare import prepare

    (local.parent / "mine.py").write_text(code, encoding="utf-8")
    local.write_text(local.read_text(encoding="utf-8").replace('["./mine.py"]', named), encoding="utf-8")
    with pytest.raises(ConfigError, match=wanted.replace("(", r"\(")):
        prepare(local)


def test_a_worker_refuses_a_local_plugin_that_changed(local: Path, registry: Registry) -> None:
    from harness.local_plugins import reload_local_plugins

    own = Registry(list(registry.origins), list(registry.entries))
    with pytest.raises(HarnessError, match="has changed since the run began"):
        reload_local_plugins(own, str(local.parent), {"./mine.py": "0" * 64})


def test_a_run_with_answers_to_other_items_fails(judged: Any, broken: Registry) -> None:
    from types import SimpleNamespace

    from harness.runner.coordinator import _Run

    evaluator, predictions = judged("exact_match")
    run: Any = SimpleNamespace(prepared=SimpleNamespace(task=evaluator.task, registry=broken))
    trial: Any = SimpleNamespace(chain=[Use("drops", "drops")])
    _Run._require_order(run, trial, predictions, [0, 1])
    for wrong in ([1, 0], [0], [0, 1, 2], [0, 7]):
        with pytest.raises(TrialError, match=r"strategy 'drops' of broken-plugin 6\.6\.6 reordered, dropped"):
            _Run._require_order(run, trial, predictions, wrong)
