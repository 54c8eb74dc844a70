"""What metrics have measured on the model: right values, measured once, resumed, re-scored, and never at the trial's
expense."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_task import TABLES, InProcessWorker, save_data, save_model

from harness.exceptions import ConfigError, PluginError
from harness.measures import Measure, Repeats, measure_key
from harness.plugins import Registry
from harness.runner.coordinator import run_experiment
from harness.runner.display import PlainDisplay
from harness.runner.prepare import prepare
from harness.runner.rescore import rescore
from harness.store.database import open_store

pytestmark = pytest.mark.usefixtures("one_thread")

HEAD = f"""{TABLES}
    instruction = "is it"
    metrics = [METRICS]
    [generation]
    max_new_tokens = 2
"""
ZERO = '[[arm]]\nname = "zero"\nstrategies = ["prompt"]'
LORA = '[[arm]]\nname = "lora"\nstrategies = ["lora"]\nlora = { lr = 1e-2, epochs = 2 }'
SOFT = '[[arm]]\nname = "soft"\nstrategies = ["prompt_tuning"]\nprompt_tuning = { tokens = 3, epochs = 1 }'
CONSISTENCY = '{ use = "consistency", samples = 3, temperature = 1.5, instructions = ["it is", "the"], limit = 10 }'
ALL = f'"exact_match", "embedding_similarity", "gold_perplexity", {CONSISTENCY}'


class Recorded(InProcessWorker):
    """Keeps what workers were asked and said."""

    specs: list[dict[str, Any]]
    sent: list[tuple[str, Any]]

    def run(self, spec: Mapping[str, Any], **limits: Any) -> Iterator[tuple[str, Any]]:
        self.specs.append(dict(spec))
        for message in super().run(spec, **limits):
            self.sent.append(message)
            yield message


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    save_model(folder / "model")
    save_data(folder)
    return folder


Rows = Callable[..., list[tuple[Any, ...]]]


class Lab:
    """Runs experiments over one results database, in this process."""

    def __init__(self, data: Path, results: Path) -> None:
        self.data, self.database = data, results / "harness.db"
        self.lines: list[str] = []
        Recorded.specs, Recorded.sent = [], []

    def file(self, metrics: str, *arms: str, head: str = HEAD) -> Path:
        path = self.data / "experiment.toml"
        path.write_text("\n".join([head.replace("METRICS", metrics), *arms]), encoding="utf-8")
        return path

    def run(self, metrics: str, *arms: str, head: str = HEAD) -> Any:
        Recorded.specs.clear()
        Recorded.sent.clear()
        outcome = run_experiment(
            prepare(self.file(metrics, *arms, head=head)), self.database, PlainDisplay(self.lines.append)
        )
        assert not outcome.failed, self.lines
        return outcome.comparison

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.database) as db:
            return db.execute(query, values).fetchall()

    def change(self, *queries: str) -> None:
        with sqlite3.connect(self.database) as db:
            for query in queries:
                db.execute(query)

    def measured(self, kind: str, arm: str) -> dict[str, Any]:
        query = (
            "SELECT m.item_id, m.value FROM measurements m JOIN trials t ON t.id = m.trial_id"
            " WHERE m.kind = ? AND t.arm = ?"
        )
        return {item: json.loads(value) for item, value in self.rows(query, kind, arm)}

    def records(self, metric: str, arm: str) -> dict[str, Any]:
        query = (
            "SELECT s.item_id, s.record, s.value FROM scores s JOIN trials t ON t.id = s.trial_id"
            " WHERE s.metric = ? AND t.arm = ?"
        )
        return {
            item: {"value": value} if record is None else json.loads(record)
            for item, record, value in self.rows(query, metric, arm)
        }

    @property
    def asked(self) -> list[str]:
        return [spec.get("measure", spec["kind"]) for spec in Recorded.specs]


@pytest.fixture
def lab(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr("harness.runner.workers.WorkerProcess", Recorded)
    return Lab(data, tmp_path)


def value(comparison: Any, arm: str, metric: str) -> Any:
    return next(found for found in comparison.arms if found.name == arm).metrics[metric]


# ------------------------------------------------------------------------------------------------------ values


def test_gold_likelihoods_equal_plain_forward_passes(lab: Lab) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    comparison = lab.run('"exact_match", "gold_perplexity"', ZERO, LORA, SOFT)
    folder = lab.data / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    gold = {item: json.loads(text)[0] for item, text in lab.rows("SELECT item_id, gold FROM items")}
    for arm in ("zero", "lora", "soft"):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        query = "SELECT path FROM artifacts a JOIN trials t ON t.id = a.trial_id WHERE t.arm = ?"
        for (path,) in lab.rows(query, arm):
            model = PeftModel.from_pretrained(model, lab.database.parent / "artifacts" / path).eval()
        nats, tokens = 0.0, 0
        query = "SELECT item_id, prompt FROM predictions p JOIN trials t ON t.id = p.trial_id WHERE t.arm = ?"
        measured = lab.measured("gold_likelihoods", arm)
        assert len(measured) == 24
        for item, prompt in lab.rows(query, arm):
            context, target = tokenizer(prompt)["input_ids"], tokenizer(gold[item])["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([context + target])).logits[0].double()
            read = torch.log_softmax(logits[-len(target) - 1 : -1], dim=-1)
            plain = -read[torch.arange(len(target)), torch.tensor(target)].sum().item()
            (found,) = measured[item]["references"]
            assert found == {"nats": pytest.approx(plain, abs=1e-4), "tokens": len(target), "bytes": len(gold[item])}
            nats, tokens = nats + plain, tokens + len(target)
        shown = value(comparison, arm, "gold_perplexity")
        assert shown.value == pytest.approx(math.exp(nats / tokens), rel=1e-4)
        assert 1 <= shown.low < shown.value < shown.high
    perplexities = {arm: value(comparison, arm, "gold_perplexity").value for arm in ("zero", "lora")}
    assert perplexities["lora"] < perplexities["zero"] / 2  # it was trained on such answers


def test_several_references_and_what_cannot_be_scored(lab: Lab) -> None:
    long = " ".join(["word4"] * 123)
    items = [("word1 navy ?", ["cold", "word3 is cold"]), (long, ["warm"]), (long + " ?", ["it is the warm", "cold"])]
    lines = [json.dumps({"question": text, "answer": first, "more": more}) for text, (first, *more) in items]
    (lab.data / "few.jsonl").write_text("\n".join(lines), encoding="utf-8")
    head = HEAD.replace('loader = "csv"', 'loader = "jsonl"\n    references = "more"')
    for split in ("train", "validation", "test"):
        head = head.replace(f'{split} = "{split}.csv"', 'test = "few.jsonl"' if split == "test" else "")
    lab.run('"exact_match", "gold_perplexity"', ZERO, head=head)
    first, second, third = (found["references"] for found in lab.measured("gold_likelihoods", "zero").values())
    records = list(lab.records("gold_perplexity", "zero").values())
    assert [reference["tokens"] for reference in first] == [1, 3]
    assert records[0] == min(first, key=lambda reference: reference["nats"] / reference["tokens"])
    # The window of 128 holds the prompt of 125 tokens and the reference, whose last token is not read.
    assert second[0]["tokens"] == 1 and records[1] == second[0]
    assert third[0] == {"reason": "prompt and reference do not fit the model's window"}
    assert third[1]["tokens"] == 1 and records[2] == third[1]


def test_repeated_answers_are_what_the_arm_would_say(lab: Lab) -> None:
    comparison = lab.run(f'"exact_match", {CONSISTENCY}', ZERO, LORA)
    found = lab.measured("repeats", "zero")
    order = [item for (item,) in lab.rows("SELECT item_id FROM items ORDER BY position")]
    assert list(found) == [order[place * 24 // 10] for place in range(10)]
    for item, measured in found.items():
        marks = [{k: v for k, v in answer.items() if k not in ("text", "finish")} for answer in measured["answers"]]
        assert marks == [{"sample": 0}, {"sample": 1}, {"sample": 2}, {"instruction": 0}, {"instruction": 1}], item
    samples = {tuple(a["text"] for a in measured["answers"] if "sample" in a) for measured in found.values()}
    assert len({text for texts in samples for text in texts}) > 10  # hot: hardly any two alike

    # Under a paraphrase the answer is that of an arm whose instruction it is.
    other = HEAD.replace('instruction = "is it"', 'instruction = "it is"').replace('"colours"', '"other"')
    lab.run('"exact_match"', ZERO.replace("zero", "asked otherwise"), head=other)
    query = "SELECT item_id, parsed FROM predictions p JOIN trials t ON t.id = p.trial_id WHERE t.arm = ?"
    otherwise = dict(lab.rows(query, "asked otherwise"))
    for item, measured in found.items():
        assert measured["answers"][3]["text"] == otherwise[item]

    records = lab.records("consistency", "zero")
    parsed = dict(lab.rows(query, "zero"))
    for item, record in records.items():
        if item not in found:
            assert record == {"value": None, "reason": "it lies beyond the metric's limit"}
            continue
        texts = [parsed[item], *(answer["text"] for answer in found[item]["answers"])]
        agree = sum(texts[i] == texts[j] for i in range(6) for j in range(i))
        assert record == {"value": pytest.approx(agree / 15), "answers": 6}
    known = [record["value"] for record in records.values() if record["value"] is not None]
    assert value(comparison, "zero", "consistency").value == pytest.approx(sum(known) / 10)


def test_samples_repeat_exactly_and_depend_on_the_seed(data: Path, tmp_path: Path, lab: Lab) -> None:
    metrics = '"exact_match", { use = "consistency", samples = 2, temperature = 1.5 }'
    lab.run(metrics, ZERO)
    again = Lab(data, tmp_path / "again")
    again.run(metrics, ZERO)
    assert again.measured("repeats", "zero") == lab.measured("repeats", "zero")
    other = Lab(data, tmp_path / "other")
    other.run(metrics, ZERO, head=HEAD.replace('name = "colours"', 'name = "colours"\n    seeds = [5]'))
    assert other.measured("repeats", "zero") != lab.measured("repeats", "zero")


def test_a_likeliest_label_is_only_paraphrased(lab: Lab) -> None:
    head = HEAD.replace('input = "{question}"', 'input = "{question}"\n    labels = ["warm", "cold"]')
    bare = '[[arm]]\nname = "bare"\nstrategies = ["prompt"]\nprompt = { instruction = "" }'
    lab.run(f'"accuracy", {CONSISTENCY}', ZERO, bare, head=head)
    for measured in lab.measured("repeats", "zero").values():
        assert [answer["instruction"] for answer in measured["answers"]] == [0, 1]
        assert {answer["text"] for answer in measured["answers"]} <= {"warm", "cold"}
    assert all(measured == {"answers": []} for measured in lab.measured("repeats", "bare").values())
    reasons = {record.get("reason", "") for record in lab.records("consistency", "bare").values()}
    assert any("does not sample" in reason for reason in reasons) and "" not in reasons


# ------------------------------------------------------------------------- once, resumed, added, re-scored, failed


def test_everything_once_with_costs_of_its_own(lab: Lab) -> None:
    first = lab.run(ALL, ZERO, LORA)
    assert lab.asked == ["trial", "gold_likelihoods", "repeats"] * 2
    for metric in ("embedding_similarity", "gold_perplexity", "consistency"):
        assert all(arm.metrics[metric].value is not None for arm in first.arms), metric
    assert [check["skipped"] != "" for check in first.run["task"]["eval_checks"]] == [False, False, True, True]
    query = "SELECT phase, quantity, count(*), min(value) FROM ledger WHERE quantity LIKE 'measure_%' GROUP BY 1, 2"
    costs = {quantity: (phase, count, least) for phase, quantity, count, least in lab.rows(query)}
    assert set(costs) == {"measure_wall_s", "measure_tokens_in", "measure_tokens_out"}
    assert {(phase, count) for phase, count, _ in costs.values()} == {("evaluate", 4)}
    assert costs["measure_tokens_in"][2] > 24 and costs["measure_tokens_out"][2] == 0
    plain = Lab(lab.data, lab.database.parent / "plain").run('"exact_match"', ZERO, LORA)
    for ours, theirs in zip(first.arms, plain.arms, strict=True):  # measuring is no part of what the arm costs
        assert ours.cost.tokens_in_per_request == theirs.cost.tokens_in_per_request
        assert ours.cost.tokens_out_per_request == theirs.cost.tokens_out_per_request

    again = lab.run(ALL, ZERO, LORA)
    assert lab.asked == [] and [arm.metrics for arm in again.arms] == [arm.metrics for arm in first.arms]


def test_an_interrupted_measurement_goes_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.runner.measure.PART", 8)
    first = lab.run(ALL, ZERO)
    whole = lab.rows("SELECT * FROM measurements ORDER BY 1, 2, 3, 4")
    scores = lab.rows("SELECT * FROM scores ORDER BY 1, 2, 3, 4")
    # As a kill leaves it while the last part of the likelihoods is being measured: nothing was scored by them.
    last = "(SELECT item_id FROM items ORDER BY position DESC LIMIT 8)"
    lab.change(
        f"DELETE FROM measurements WHERE kind = 'gold_likelihoods' AND item_id IN {last}",
        "DELETE FROM measurements WHERE kind = 'repeats'",
        "DELETE FROM scores WHERE metric NOT IN ('exact_match')",
    )
    again = lab.run(ALL, ZERO)
    assert lab.asked == ["gold_likelihoods", "repeats"]
    parts = [len(message["values"]) for kind, message in Recorded.sent if kind == "measured"]
    assert parts == [8, 8, 2]
    assert lab.rows("SELECT * FROM measurements ORDER BY 1, 2, 3, 4") == whole
    assert lab.rows("SELECT * FROM scores ORDER BY 1, 2, 3, 4") == scores
    assert again.arms[0].metrics == first.arms[0].metrics


def test_a_metric_added_to_a_finished_run_is_measured_without_predicting_again(lab: Lab) -> None:
    lab.run('"exact_match"', ZERO, LORA)
    before = lab.rows("SELECT id, started_at, finished_at, prediction_digest FROM trials")
    added = lab.run('"exact_match", "gold_perplexity"', ZERO, LORA)
    assert lab.asked == ["gold_likelihoods"] * 2
    assert lab.rows("SELECT id, started_at, finished_at, prediction_digest FROM trials") == before
    assert all(arm.metrics["gold_perplexity"].value > 1 for arm in added.arms)
    # Another metric that wants the same measured measures nothing.
    lab.run('"exact_match", "gold_perplexity", { use = "gold_perplexity", id = "again" }', ZERO, LORA)
    assert lab.asked == []
    assert lab.records("again", "zero") == lab.records("gold_perplexity", "zero")


def test_rescoring_uses_what_is_stored_and_says_what_is_not(lab: Lab, registry: Registry) -> None:
    lab.run('"exact_match"', ZERO)

    def again(*metrics: str) -> Any:
        with open_store(lab.database) as store:
            return rescore(store, "colours", registry, metrics=metrics)

    done = again("gold_perplexity", "embedding_similarity")
    assert done.judged["metric gold_perplexity"] == done.judged["metric embedding_similarity"] == 24
    (note,) = done.notes
    assert "gold_perplexity" in note and "1 trial" in note and "harness run FILE" in note
    records = lab.records("gold_perplexity", "zero")
    assert {record.get("value") for record in records.values()} == {None}
    assert all("re-scoring runs no model" in record["reason"] for record in records.values())
    assert set(again().judged.values()) == {0}

    run = lab.rows("SELECT id FROM runs")[0][0]
    lab.run('"exact_match", "gold_perplexity"', ZERO)
    assert lab.asked == ["gold_likelihoods"]
    measured = lab.records("gold_perplexity", "zero")
    assert all(record["nats"] > 0 for record in measured.values())
    lab.change("DELETE FROM scores WHERE metric = 'gold_perplexity'")
    with open_store(lab.database) as store:
        done = rescore(store, run, registry)
    assert done.judged["metric gold_perplexity"] == 24 and not done.notes
    assert lab.records("gold_perplexity", "zero") == measured


def test_a_failing_measurement_costs_its_metric_only(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("planted\nfailure")

    with monkeypatch.context() as patch:
        patch.setattr("harness.runner.measure.score", broken)
        comparison = lab.run(ALL, ZERO)  # the outcome counts no failed trial
    interval = value(comparison, "zero", "gold_perplexity")
    assert interval.value is None and "could not be measured: planted" in interval.note
    for metric in ("exact_match", "embedding_similarity", "consistency"):
        assert value(comparison, "zero", metric).value is not None
    (notes,) = lab.rows("SELECT notes FROM trials")
    assert json.loads(notes[0]) == ["gold_likelihoods could not be measured: planted. The same command tries again."]
    again = lab.run(ALL, ZERO)
    assert lab.asked == ["gold_likelihoods"]
    assert value(again, "zero", "gold_perplexity").value > 1
    assert lab.rows("SELECT notes FROM trials") == [("[]",)]


def test_answers_that_change_lose_what_was_measured(lab: Lab) -> None:
    from dataclasses import replace

    lab.run('"exact_match", "gold_perplexity"', ZERO)
    with open_store(lab.database) as store:
        one, two = store.predictions(1)[:2]
        store.add_predictions(1, [replace(one, raw="new", parsed="new"), two], [0, 1])
    left = lab.measured("gold_likelihoods", "zero")
    assert one.item_id not in left and two.item_id in left and len(left) == 23


def test_points_of_a_learning_curve_measure_the_deciding_metric_only(lab: Lab, registry: Registry) -> None:
    head = HEAD + '    [learning_curve]\n    sizes = [8]\n    arms = ["lora"]\n'
    lab.run('"exact_match", "gold_perplexity"', ZERO, LORA, head=head)
    assert lab.asked == ["trial", "gold_likelihoods", "trial", "gold_likelihoods", "trial"]
    with open_store(lab.database) as store:
        assert rescore(store, None, registry).notes == ()
    lab.run('"gold_perplexity", "exact_match"', ZERO, LORA, head=head)
    assert lab.asked == ["gold_likelihoods"] and Recorded.specs[0]["train"] is not None


# ---------------------------------------------------------------------------------------------- before the run

LOCAL = """
from harness import MetricSpec, hookimpl


@hookimpl
def harness_metrics():
    return [MetricSpec("first_sample", "Whether the first sample is right.", f"{__name__}:First", measures="repeats")]


class First:
    def measurement(self):
        return SETTINGS

    def record(self, prediction, example, context):
        if not context.measured:
            return {"value": None, "reason": context.unmeasured}
        return {"value": float(context.measured["answers"][0]["text"] in example.references)}

    def aggregate(self, records):
        known = [record["value"] for record in records if record["value"] is not None]
        return sum(known) / len(known) if known else None
"""


def test_a_strangers_metric_is_measured_too(lab: Lab) -> None:
    local = 'plugins = ["./mine.py"]\n' + HEAD
    (lab.data / "mine.py").write_text(LOCAL.replace("SETTINGS", '{"samples": 1, "limit": 5}'), encoding="utf-8")
    comparison = lab.run('"exact_match", "first_sample"', ZERO, head=local)
    assert value(comparison, "zero", "first_sample").value is not None
    assert len(lab.measured("repeats", "zero")) == 5
    (lab.data / "mine.py").write_text(LOCAL.replace("SETTINGS", '{"sampels": 1}'), encoding="utf-8")
    with pytest.raises(PluginError, match=r"'first_sample' of local .* settings that do not fit: .*sampels") as caught:
        lab.run('"exact_match", "first_sample"', ZERO, head=local)
    assert "samples" in caught.value.hint


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        (f'{LORA}\nsweep = {{ "lora.r" = [4, 8] }}', "a sweep cannot be decided by 'gold_perplexity'"),
        (LORA.replace("epochs = 2", 'epochs = 2, select_by = "metric"'), "training cannot be decided"),
    ],
)
def test_choices_on_validation_examples_need_another_metric(lab: Lab, arm: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prepare(lab.file('"gold_perplexity"', ZERO, arm))


def test_keys_and_choices() -> None:
    assert Measure(limit=3).chosen("abcdefg") == ["a", "c", "e"] and Measure(limit=9).chosen("ab") == ["a", "b"]
    assert Measure().chosen("abc") == ["a", "b", "c"]
    same = measure_key("repeats", Repeats(samples=2)), measure_key("repeats", Repeats(samples=2))
    assert same[0] == same[1] != measure_key("repeats", Repeats(samples=3))
