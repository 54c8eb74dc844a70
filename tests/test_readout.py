"""Choosing a label: the formulas, their place in engine and trial, the whole path."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.adaptation import Adaptation, ModelState, Readout, Step
from harness.models.chat import Encoded
from harness.models.engine import Engine
from harness.models.requests import Decoding
from harness.plugins import Registry
from harness.readout import Choose, calibrated, log_prior, normalised
from harness.rendering import Indexes, Renderer
from harness.runner.calibration import ANCHORS, bind_readout, calibrate, content_free_drafts
from harness.tasks.task import WorkerTask
from harness.types import Document, Example, LedgerEntry, Message, Query
from tests import reference_engine
from tests.engine_models import Letters, variant

END = 2
tables = st.dictionaries(st.text(max_size=4), st.floats(-60, 0), min_size=2, max_size=6)


# ------------------------------------------------------------------------------------------------- the formulas


@given(st.floats(-100, 0), st.text(min_size=1, max_size=9), st.integers(1, 9))
def test_length_normalisation(logprob: float, label: str, tokens: int) -> None:
    assert normalised(logprob, label, tokens, "none") == logprob
    assert normalised(logprob, label, tokens, "tokens") == logprob / tokens
    assert normalised(logprob, label, tokens, "characters") == logprob / len(label)
    assert normalised(logprob, label, tokens, "bytes") == logprob / len(label.encode())


def test_characters_and_bytes_are_those_of_lm_eval() -> None:
    """lm_eval.api.task divides by len(choice) for acc_norm and by len(choice.encode("utf-8")) for acc_bytes."""
    assert normalised(-12.0, "Rückgabe", 3, "characters") == -12.0 / 8
    assert normalised(-12.0, "Rückgabe", 3, "bytes") == -12.0 / 9
    assert normalised(-12.0, "", 1, "characters") == -12.0


@given(st.data())
def test_calibration_is_the_papers_diagonal_matrix(data: st.DataObject) -> None:
    """softmax(W p) of the corrected scores = W p / sum, with W = diag(p_cf)^-1 and p_cf the mean of probabilities."""
    labels = data.draw(st.lists(st.text(max_size=4), min_size=2, max_size=5, unique=True))
    row = st.lists(st.floats(-20, 0), min_size=len(labels), max_size=len(labels))
    item, free = data.draw(row), data.draw(st.lists(row, min_size=1, max_size=4))

    def softmax(values: Any) -> Any:
        powers = np.exp(np.asarray(values))
        return powers / powers.sum(axis=-1, keepdims=True)

    weighted = softmax(item) / softmax(free).mean(axis=0)
    prior = log_prior([dict(zip(labels, scores, strict=True)) for scores in free])
    scores = calibrated(dict(zip(labels, item, strict=True)), prior)
    assert softmax([scores[label] for label in labels]) == pytest.approx(weighted / weighted.sum())


@given(tables)
def test_a_content_free_input_gives_every_label_the_same_probability(scores: Mapping[str, float]) -> None:
    found = calibrated(scores, log_prior([scores]))
    assert max(found.values()) - min(found.values()) < 1e-9


def test_probabilities_of_long_labels_do_not_vanish() -> None:
    prior = log_prior([{"a": -3000.0, "b": -1.0}, {"a": -2000.0, "b": -1.0}])
    assert prior["a"] == pytest.approx(-1999.0 - math.log(2)) and prior["b"] == pytest.approx(0.0)
    with pytest.raises(ValueError):
        log_prior([])


def test_options_of_the_plain_choice_are_empty() -> None:
    assert Choose().options == {} and Choose(by="likelihood").options == {}
    assert Choose(**Choose(normalise="bytes").options) == Choose(normalise="bytes")


# -------------------------------------------------------------------------------------- engine and calibration


class Letterwise:
    """A chat format whose tokens are letters; A is token 4."""

    end_ids = (END,)

    def encode_reply(self, text: str) -> tuple[int, ...]:
        return (*(ord(letter.upper()) - 61 for letter in text), END)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        text = "\n".join(message.content for message in messages)
        return Encoded(tuple(4 + ord(letter) % 45 for letter in text), text)


LABELS = ("a", "ab", "bcd", "c")
PROMPTS = [Letterwise().encode([Message("user", text)]) for text in ("hello", "hello you", "what", "x" * 62, "yes")]


@pytest.fixture(scope="module", params=[False, True], ids=["tree", "plain"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    loaded: Any = SimpleNamespace(
        model=variant("llama").model, chat=Letterwise(), tokenizer=Letters(), window=64, device="cpu", folder=""
    )
    made = Engine(loaded, tmp_path_factory.mktemp("artifacts"), Decoding(), 4)
    if request.param:
        made.plain = "as a test"
    return made


def read(settings: Mapping[str, Any]) -> Adaptation:
    return Adaptation(ModelState("base"), readout=Readout("choose", settings))


@pytest.mark.parametrize("root", ["llama", "llama+root"])
def test_the_engine_corrects_scores_and_chooses_by_them(engine: Engine, root: str) -> None:
    model = variant(root)
    replies = [Letterwise().encode_reply(label) for label in LABELS]
    prior = dict(zip(LABELS, (-1.0, -3.0, -0.5, -2.0), strict=True))
    for normalise in ("none", "tokens", "characters", "bytes"):
        options = Choose(normalise=normalise).options
        for answers, by_label in (
            (engine.answer(model, read(options), PROMPTS, labels=LABELS), {}),
            (engine.answer(model, read({**options, "prior": prior}), PROMPTS, labels=LABELS), prior),
        ):
            assert [answer is not None and answer.finish for answer in answers] == [
                *["choice"] * 3,
                "overflow",
                "choice",
            ]
            for prompt, answer in zip(PROMPTS, answers, strict=True):
                assert answer is not None
                if answer.finish == "overflow":
                    assert answer.scores is None
                    continue
                expected = {}
                for label, reply in zip(LABELS, replies, strict=True):
                    one = reference_engine.score_one(model, prompt.ids, reply, 64)
                    expected[label] = normalised(one.logprob, label, len(reply), normalise) - by_label.get(label, 0.0)
                assert answer.scores == pytest.approx(expected, abs=2e-4)
                assert answer.text == max(expected, key=lambda label: expected[label])


@pytest.mark.parametrize("root", ["llama", "llama+root"])
def test_the_engine_can_only_spell_labels(engine: Engine, root: str) -> None:
    model = variant(root)
    replies = {Letterwise().encode_reply(label): label for label in LABELS}
    answers = engine.answer(model, read({"by": "generation"}), PROMPTS, labels=LABELS)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert answer is not None and answer.scores is None
        if answer.finish == "overflow":
            assert len(prompt.ids) + 4 > 60
            continue
        reply = reference_engine.constrained_ids(model, prompt.ids, [*replies])
        assert (answer.text, answer.finish, answer.tokens_out) == (replies[reply], "choice", len(reply))


TRAIN = tuple(Example(Query(f"q{n}", {"text": f"t{n}"}), (LABELS[n % 4],)) for n in range(12))
CORPUS = tuple(Document(f"d{n}", f"t{n} is about {n}") for n in range(12))


def worker_task(train: tuple[Example, ...] = TRAIN, **options: Any) -> WorkerTask:
    return WorkerTask(
        train=train,
        validation=(),
        test=(Query("x", {"text": "t3"}), Query("y", {"text": "t5"})),
        corpus=CORPUS,
        labels=LABELS,
        readout="choose",
        readout_options=options,
        exclusions={example.id: frozenset({example.id}) for example in train},
    )


def renderer(registry: Registry, task: WorkerTask) -> Renderer:
    return Renderer(
        registry,
        input_template="<{text}>",
        instruction="",
        train=task.train,
        exclusions=task.exclusions,
        indexes=Indexes(registry, task.corpus),
        labels=task.labels,
    )


RAG = {"k": 1, "passage": "{text}", "context": "{passages}"}


def test_content_free_prompts_are_the_arms_own(registry: Registry) -> None:
    task = worker_task()
    made = renderer(registry, task)
    plain = [made.messages(draft) for draft in content_free_drafts(read({}), made, task, ["N/A", ""])]
    assert [messages[-1].content for messages in plain] == ["<N/A>"] * ANCHORS + ["<>"] * ANCHORS
    retrieved = [*content_free_drafts(read({}).with_step(Step("rag", RAG)), made, task, ["N/A"])]
    assert len({draft.passages[0].document_id for draft in retrieved}) > 1
    assert {draft.input for draft in retrieved} == {"<N/A>"}
    # Without training examples the content-free text itself is searched with.
    bare = worker_task(train=())
    alone = [*content_free_drafts(read({}).with_step(Step("rag", RAG)), renderer(registry, bare), bare, ["N/A", "t7"])]
    assert [draft.input for draft in alone] == ["<N/A>", "<t7>"]
    assert alone[1].passages[0].document_id == "d7"


def run_calibration(
    engine: Engine, registry: Registry, adaptation: Adaptation, task: WorkerTask
) -> tuple[Adaptation, list[LedgerEntry], list[str]]:
    ledger: list[LedgerEntry] = []
    notes: list[str] = []
    emit: Callable[[str, Any], None] = lambda kind, value: {"ledger": ledger, "note": notes}[kind].append(value)  # noqa: E731
    found = calibrate(adaptation, variant("llama"), engine, renderer(registry, task), task, emit)
    return found, ledger, notes


def test_calibration_asks_each_prompt_once_and_books_it(engine: Engine, registry: Registry) -> None:
    model, texts = variant("llama"), ["N/A", ""]
    options = Choose(calibrate=True, content_free=texts).options
    task = worker_task(**options)
    adaptation = bind_readout(read({}), task)
    found, ledger, notes = run_calibration(engine, registry, adaptation, task)
    prompts = [Letterwise().encode([Message("user", f"<{text}>")]) for text in texts]
    replies = {label: Letterwise().encode_reply(label) for label in LABELS}
    tables = [
        {label: reference_engine.score_one(model, prompt.ids, reply, 64).logprob for label, reply in replies.items()}
        for prompt in prompts
    ]
    assert found.readout.settings["prior"] == pytest.approx(log_prior(tables), abs=2e-4)
    assert {name: found.readout.settings[name] for name in options} == options
    booked = {entry.quantity: entry.value for entry in ledger}
    assert {entry.phase for entry in ledger} == {"prepare"} and len(booked) == len(ledger)
    assert booked["tokens_in"] == sum(len(prompt.ids) for prompt in prompts)
    assert booked["tokens_out"] > 0 and booked["wall_s"] > 0 and notes == []
    # Under its own prior a lone content-free input finds all labels equally likely.
    alone = worker_task(**Choose(calibrate=True, content_free=["?"]).options)
    found, _, _ = run_calibration(engine, registry, bind_readout(read({}), alone), alone)
    [answer] = engine.answer(variant("llama"), found, [Letterwise().encode([Message("user", "<?>")])], labels=LABELS)
    assert answer is not None and answer.scores is not None
    assert max(answer.scores.values()) - min(answer.scores.values()) < 1e-3


def test_without_calibration_nothing_is_asked(engine: Engine, registry: Registry) -> None:
    for options in ({}, Choose(normalise="tokens").options, Choose(by="generation").options):
        task = worker_task(**options)
        adaptation = bind_readout(read({}), task)
        assert run_calibration(engine, registry, adaptation, task) == (adaptation, [], [])


def test_prompts_that_do_not_fit_leave_the_labels_as_they_are(engine: Engine, registry: Registry) -> None:
    task = worker_task(**Choose(calibrate=True, content_free=["long " * 20]).options)
    found, _, notes = run_calibration(engine, registry, bind_readout(read({}), task), task)
    assert "prior" not in found.readout.settings and "not calibrated" in notes[0]


def test_options_of_the_arm_come_before_the_tasks(registry: Registry) -> None:
    task = worker_task(**Choose(normalise="tokens").options)
    assert bind_readout(read({}), task).readout.settings["normalise"] == "tokens"
    strategy = registry.get("strategy", "choose").create({})
    chosen = strategy.adapt(read({}), None)
    assert bind_readout(chosen, task).readout.settings["normalise"] == "none"
    assert strategy.check(None) == [] and not strategy.seeded
    assert registry.get("strategy", "choose").create({"by": "generation", "calibrate": True}).check(None)


# --------------------------------------------------------------------------------------------- the whole path

TOML = """
    [experiment]
    name = "labels"
    [model]
    ref = "smollm2-135m-instruct"
    [task]
    loader = "csv"
    train = "train.csv"
    test = "test.csv"
    input = "{text}"
    target = "{mood}"
    readout = { calibrate = true, normalise = "tokens" }
    metrics = ["accuracy", "brier"]
    [[arm]]
    name = "corrected"
    strategies = ["prompt"]
    [[arm]]
    name = "plain"
    strategies = ["prompt", "choose"]
    prompt = { k = 1 }
    [[arm]]
    name = "spelt"
    strategies = ["prompt", "choose"]
    choose = { by = "generation" }
    [cost]
    usd_per_1k_input_tokens = 1.0
    usd_per_1k_output_tokens = 1.0
"""


def test_three_ways_of_choosing_by_command(folder: Path, write: Callable[[str, str], Path]) -> None:
    from tests.test_end_to_end import harness, rows, run_json

    for split, ask in (("train", "I feel"), ("test", "Today I am")):
        moods = (("happy", "glad"), ("sad", "very sad"), ("happy", "joyful"), ("sad", "in tears"))
        write(f"{split}.csv", "text,mood\n" + "".join(f"{ask} {words},{mood}\n" for mood, words in moods))
    toml = write("e.toml", TOML)
    report = run_json(folder, toml)
    arms = {arm["name"]: arm for arm in report["arms"]}
    assert [arm["status"] for arm in arms.values()] == ["done"] * 3
    assert arms["plain"]["metrics"]["brier"]["value"] is not None
    assert arms["spelt"]["metrics"]["brier"]["value"] is None
    answers = rows(folder, "SELECT trial_id, parsed, finish FROM predictions")
    assert len(answers) == 12 and {(parsed in ("happy", "sad"), finish) for _, parsed, finish in answers} == {
        (True, "choice")
    }
    asked = rows(folder, "SELECT trial_id, value FROM ledger WHERE phase = 'prepare' AND quantity = 'tokens_in'")
    assert len(asked) == 1 and asked[0][1] > 3
    corrected = arms["corrected"]["cost"]["one_off_usd"]
    assert corrected > 0 and arms["plain"]["cost"]["one_off_usd"] == 0
    query = "SELECT json_extract(adaptation, '$.readout.settings.prior') FROM trials ORDER BY id"
    assert [prior is not None for (prior,) in rows(folder, query)] == [True, False, False]
    # Interrupted before its last answers, the first arm estimates its priors again, and they are booked once.
    stored = "SELECT trial_id, item_id, parsed, label_scores FROM predictions ORDER BY 1, 2"
    whole, costs = rows(folder, stored), "SELECT count(*) FROM ledger WHERE quantity = 'tokens_in'"
    with sqlite3.connect(folder / "results" / "harness.db") as db:
        db.execute("UPDATE trials SET status = 'running' WHERE id = 1")
        db.execute("UPDATE runs SET status = 'running'")
        for table in ("scores", "error_labels", "predictions"):
            db.execute(f"DELETE FROM {table} WHERE trial_id = 1")
    run_json(folder, toml)
    assert rows(folder, stored) == whole and rows(folder, costs) == [(1,)]
    # The prompt is shown as it is, however it is read.
    shown = harness(folder, "show", "--rendered", str(toml), "--arm", "plain", "--count", "1").stdout
    assert shown.count("I feel") == 2
