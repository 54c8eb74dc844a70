"""Metrics: values equal the reference libraries', odd text never crashes, unknown is None with a reason."""

from __future__ import annotations

import json
import math
import random
import re
import string
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.plugins import Origin, Registered
from harness.types import EvalContext, Example, Metric, Prediction, Query
from harness_plugins.metrics import SPECS as ALL
from harness_plugins.metrics.text import contains, normalise

FREE = EvalContext(readout="generate")
SPECS = [spec for spec in ALL if spec.name != "python"]  # wants a file of the user's own: see test_criteria
SETTINGS = {
    "contains_text": {"texts": ["w"]},
    "regex": {"pattern": r"\d+"},
    "json_schema": {"schema": {"type": "object", "required": ["a"]}},
}
ODD = [
    "",
    " ",
    "\n\t",
    "?!",
    "\x00\x07",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07x",
    "\ud800",
    "مرحبا",
    "🙂👨‍👩‍👧",
    "y" * 3000,
    "[",
]


def create(name: str, **options):
    spec = next(spec for spec in SPECS if spec.name == name)
    return Registered("metric", spec, Origin("t", "t", "0")).create(options or SETTINGS.get(name))


def predicted(text: str, finish="stop", scores=None, error=None) -> Prediction:
    return Prediction("1", "prompt", text, text, finish, 1, 1, label_scores=scores, error=error)


def gold(*references: str) -> Example:
    return Example(Query("1", {}), references)


def value(name: str, text: str, *references: str, context=FREE, **options):
    return create(name, **options).record(predicted(text), gold(*references), context)["value"]


def aggregate(name: str, pairs, context=FREE, **options):
    metric = create(name, **options)
    return metric.aggregate([metric.record(predicted(text), gold(*refs), context) for text, refs in pairs])


# ---------------------------------------------------------------------------------------------- normalisation


def squad_normalise(text: str) -> str:
    """The official script's `normalize_answer`."""
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


words = st.lists(
    st.sampled_from(["the", "a", "cat", "cats", "sat", "on", "mat.", "Mat", "running", "An", "U.S.", "3,000", "-", "é"])
)
sentences = words.map(" ".join)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60))
def test_normalisation_equals_squads_wherever_that_leaves_anything(text):
    assert normalise(text) == squad_normalise(text) or not squad_normalise(text)


@given(st.text(max_size=60))
def test_normalisation_never_crashes_is_stable_and_is_empty_only_for_nothing(text):
    once = normalise(text)
    assert normalise(once) == once or not squad_normalise(text)
    assert contains(text, text)
    if not once:
        assert not any(c.isalnum() for c in text)


@pytest.mark.parametrize(
    ("text", "reference", "exact", "inside"),
    [
        ("the Eiffel tower!", "Eiffel Tower", 1, 1),
        ("I think Paris, France.", "Paris", 0, 1),
        ("Comparisons", "Paris", 0, 0),
        ("parisian", "Paris", 0, 0),
        ("?!", "", 0, 0),
        ("", "", 1, 1),
        (" \n\u200b", "", 1, 1),
        ("Paris", "", 0, 0),
        ("?!", "...", 0, 0),
        ("A", "The", 0, 0),
        ("A.", "A", 1, 1),
        ("the answer is A.", "A", 0, 1),
        ("it is a dog", "A", 0, 0),
        ("", "A", 0, 0),
        ("use + here", "+", 0, 1),
        ("use - here", "+", 0, 0),
        ("“Café”", "Cafe\u0301", 1, 1),
        ("\x1b[31mParis\x1b[0m\x00", "Paris", 1, 1),
        ("答案是巴黎。", "巴黎", 0, 1),
        ("巴黎", "巴 黎", 1, 1),
        ("القاهرة.", "القاهرة", 1, 1),
    ],
)
def test_exact_match_and_contains(text, reference, exact, inside):
    assert value("exact_match", text, reference) == exact
    assert value("contains", text, reference) == inside


def test_any_reference_is_enough():
    for name in ("exact_match", "contains", "token_f1", "rouge_1", "rouge_l", "edit_similarity"):
        assert value(name, "Paris", "London", "Paris") == 1.0


def squad_f1(text: str, reference: str) -> float:
    ours, true = squad_normalise(text).split(), squad_normalise(reference).split()
    common = sum((Counter(ours) & Counter(true)).values())
    if not ours or not true:
        return float(ours == true)
    return (
        0.0
        if not common
        else 2 * (common / len(ours)) * (common / len(true)) / (common / len(ours) + common / len(true))
    )


@given(sentences.filter(squad_normalise), sentences.filter(squad_normalise))
def test_token_f1_equals_squads(text, reference):
    assert value("token_f1", text, reference) == pytest.approx(squad_f1(text, reference), abs=1e-12)


# ------------------------------------------------------------------------------------------ reference libraries

lines = st.lists(sentences, max_size=4).map("\n".join)


@settings(max_examples=150, deadline=None)
@given(lines, st.lists(lines, min_size=1, max_size=3))
def test_rouge_equals_rouge_score(text, references):
    from rouge_score.rouge_scorer import RougeScorer

    ours = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l", "rougeLsum": "rouge_lsum"}
    scores = RougeScorer(list(ours), use_stemmer=True).score_multi(references, text)
    for theirs, name in ours.items():
        known = value(name, text, *references)
        assert known == pytest.approx(scores[theirs].fmeasure, abs=1e-12) if known is not None else True
        if known is None:
            assert scores[theirs].fmeasure == 0


def theirs_words(text: str) -> list[str]:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()(text).split()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(lines, st.lists(lines, min_size=2, max_size=2)), min_size=1, max_size=5))
def test_bleu_and_chrf_equal_sacrebleu(pairs):
    from sacrebleu.metrics import BLEU, CHRF

    texts = [text for text, _ in pairs]
    streams = [list(stream) for stream in zip(*(references for _, references in pairs), strict=True)]
    for name, theirs in (("bleu", BLEU()), ("chrf", CHRF())):
        ours = aggregate(name, pairs)
        expected = theirs.corpus_score(texts, streams).score
        if ours is None:  # nothing to compare: no four words in a row, or no character, in any reference
            least = 4 if name == "bleu" else 1
            assert min(len(theirs_words(r)) for _, references in pairs for r in references) < least
        else:
            assert ours == pytest.approx(expected, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["x", "y", "z", "w", "none of them"])), min_size=1))
def test_label_metrics_equal_scikit_learn(pairs):
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    context = EvalContext("choose", labels=tuple("xyzw"))
    true, guess = [t for t, _ in pairs], [g for _, g in pairs]
    items = [(g, [t]) for t, g in pairs]
    seen = sorted(set(true) | (set(guess) & set("xyzw")))
    f1 = {kind: f1_score(true, guess, average=kind, labels=seen, zero_division=0) for kind in ("macro", "weighted")}
    assert aggregate("accuracy", items, context) == pytest.approx(accuracy_score(true, guess))
    assert aggregate("macro_f1", items, context) == pytest.approx(f1["macro"])
    assert aggregate("weighted_f1", items, context) == pytest.approx(f1["weighted"])
    assert aggregate("mcc", items, context) == pytest.approx(matthews_corrcoef(true, guess))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.floats(-30, 0), min_size=3, max_size=3)), min_size=1))
def test_calibration_equals_scikit_learn_and_the_definition(items):
    from sklearn.metrics import brier_score_loss

    labels, context = ("x", "y", "z"), EvalContext("choose", labels=("x", "y", "z"))
    logits = np.array([scores for _, scores in items])
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    true = np.array([t for t, _ in items])
    predictions = [predicted("x", "choice", dict(zip(labels, scores, strict=True))) for _, scores in items]
    results = {}
    for name in ("brier", "ece"):
        metric = create(name)
        records = [metric.record(q, gold(labels[t]), context) for q, t in zip(predictions, true, strict=True)]
        results[name] = metric.aggregate(json.loads(json.dumps(records)))
    expected = brier_score_loss(true, p, labels=[0, 1, 2], scale_by_half=False)
    assert results["brier"] == pytest.approx(expected, abs=1e-9)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == true
    bins = np.ceil(confidence * 15)
    gaps = [abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    assert results["ece"] == pytest.approx(sum(gaps), abs=1e-9)


@given(st.text(max_size=40), st.text(max_size=40))
def test_edit_similarity_is_one_minus_distance(text, reference):
    from rapidfuzz.distance import Levenshtein

    from harness_plugins.metrics.text import plain

    longest = max(len(plain(text)), len(plain(reference)))
    expected = 1 - Levenshtein.distance(plain(text), plain(reference)) / longest if longest else 1.0
    assert value("edit_similarity", text, reference) == pytest.approx(expected)


# -------------------------------------------------------------------------------------------------- contracts


def every_context():
    yield FREE
    yield EvalContext("choose", labels=("x", "y"))


@pytest.mark.parametrize("name", [spec.name for spec in SPECS])
def test_every_metric_takes_odd_text_and_gives_json_and_no_nan(name):
    metric = create(name)
    assert isinstance(metric, Metric)
    for context in every_context():
        for references in [(), ("",), ("x",), ("?!",), ("x", "two words, or four"), ("مرحبا",)]:
            records = []
            for text in ODD:
                for scores in (None, {"x": -1.0, "y": -math.inf}, {"x": math.nan}, {"x": -math.inf, "y": -math.inf}):
                    record = metric.record(predicted(text, scores=scores), gold(*references), context)
                    assert json.loads(json.dumps(record)) == record
                    if record.get("value", 0) is None:
                        assert record["reason"]
                    records.append(record)
            for group in ([], records[:1], records):
                total = metric.aggregate(group)
                assert total is None or math.isfinite(total)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=80), st.lists(st.text(max_size=30), max_size=2))
def test_no_text_crashes_a_metric_and_values_stay_in_range(text, references):
    for spec in SPECS:
        metric = METRICS.setdefault(spec.name, create(spec.name))
        for context in every_context():
            record = metric.record(predicted(text, scores={"x": -1.0, "y": -2.0}), gold(*references), context)
            total = metric.aggregate([record])
            assert total is None or spec.low - 1e-9 <= total <= spec.high + 1e-9


METRICS: dict[str, Metric] = {}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_a_failure_of_ours_is_unknown_with_its_reason(spec):
    metric = create(spec.name)
    record = metric.record(predicted("", "error", error="worker died"), gold("x"), EvalContext("choose", ("x", "y")))
    assert record.get("value") is None and "worker died" in record["reason"]
    assert metric.aggregate([record]) is None
    assert spec.mean == ("value" in record)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_gold_is_perfect(spec):
    text = {"json_valid": "[1]", "json_schema": '{"a": 1}', "numeric": "7 of 9", "regex": "12"}.get(
        spec.name, "x y z w"
    )
    measured = {
        "references": [{"nats": 0.0, "tokens": 3, "bytes": 7}],
        "answers": [{"text": text, "finish": "choice", "instruction": 0}],
    }
    context = EvalContext("choose", (text, "other"), measured=measured)
    metric = create(spec.name)
    items = [(text, text), ("other", "other")] if spec.name == "mcc" else [(text, text)]
    records = [
        metric.record(predicted(t, scores={text: 0.0, "other": -900.0}), gold(reference), context)
        for t, reference in items
    ]
    assert metric.aggregate(records) == pytest.approx(spec.high if spec.higher_is_better else spec.low)


def test_a_missing_reference_or_label_set_has_a_reason():
    assert create("token_f1").record(predicted("x"), gold(), FREE) == {
        "value": None,
        "reason": "the item has no reference",
    }
    assert "closed set" in create("macro_f1").record(predicted("x"), gold("x"), FREE)["reason"]
    assert (
        "none of the labels" in create("mcc").record(predicted("x"), gold("q"), EvalContext("choose", ("x",)))["reason"]
    )
    assert "fewer than 2 words" in create("rouge_2").record(predicted("x"), gold("x"), FREE)["reason"]
    assert "a-z" in create("rouge_l").record(predicted("x"), gold("مرحبا"), FREE)["reason"]
    assert aggregate("bleu", [("one two", ["one two"])]) is None
    assert aggregate("token_f1", [("x", ["x"]), ("x", [])]) == 1.0


# --------------------------------------------------------------------------------------------------- by a model


def test_embedding_similarity_equals_sentence_transformers():
    from sentence_transformers.util import cos_sim

    from harness_plugins.embedding import PACKAGED, load_encoder

    draw = random.Random(0)
    words = ["lake", "Peru", "of", "the", "1,946", "km²", "北京", "não", "🙂", "runs", "warm", "?"]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 12))) for _ in range(24)]
    pairs = [(text, [draw.choice(texts), draw.choice(texts)]) for text in texts]
    encoder = load_encoder(PACKAGED, "test")
    metric = create("embedding_similarity")
    metric.prepare([predicted(text) for text, _ in pairs], [gold(*references) for _, references in pairs])
    for text, references in pairs:
        theirs = cos_sim(encoder.encode([text]), encoder.encode(references)).max().item()
        ours = metric.record(predicted(text), gold(*references), FREE)["value"]
        assert ours == pytest.approx(max(0.0, theirs), abs=2e-6)


def test_embedding_similarity_of_nothing_and_of_the_same():
    assert [value("embedding_similarity", *pair) for pair in (("", "x"), (" \u200b", "x"), ("", ""), ("x", ""))] == [
        *(0, 0, 1, 0)
    ]
    assert value("embedding_similarity", "Lima", "Oslo", "Lima") == 1
    assert 0 < value("embedding_similarity", "cold", "warm") < 1


def test_texts_are_embedded_once_and_in_one_go(monkeypatch):
    from harness_plugins import embedding

    asked = []

    def fake(texts, *settings):
        asked.append(texts)
        return np.array([[1.0, 0.0] if text == "Lima" else [0.6, 0.8] for text in texts], dtype=np.float32)

    monkeypatch.setattr(embedding, "_embedded", fake)
    embedding.embedder.cache_clear()
    metric = create("embedding_similarity")
    predictions = [predicted("Oslo"), predicted(""), predicted("Oslo"), predicted("lost", "error", error="died")]
    metric.prepare(predictions, [gold("Lima")] * 4)
    values = [metric.record(prediction, gold("Lima"), FREE)["value"] for prediction in predictions]
    assert values == [pytest.approx(0.6), 0, pytest.approx(0.6), None]
    assert asked == [["Lima", "Oslo"]]
    metric.prepare([predicted("Rome")], [gold("Lima")])
    assert asked[1:] == [["Rome"]]
    monkeypatch.setattr(embedding, "REMEMBERED", 4)
    metric.prepare([predicted("Bern"), predicted("Kyiv")], [gold("Lima")] * 2)
    assert asked[2:] == [["Bern", "Kyiv"]] and set(metric.embedder._vectors) == {"Lima", "Bern", "Kyiv"}
    embedding.embedder.cache_clear()


CHILD = """
import time
from harness_plugins.embedding import _child, embedder
if __name__ == "__main__":
    texts = [f"text {n}" for n in range(6)]
    made = embedder("all-MiniLM-L6-v2", 4, "test")
    made.prepare(texts)
    print(*_child()._processes, sum(made.similarity(text, "text 3") for text in texts), flush=True)
    time.sleep(60)
"""


def test_texts_are_embedded_in_a_process_that_ends_with_this_one(tmp_path):
    import psutil

    from harness_plugins.embedding import embedder

    program = tmp_path / "program.py"
    program.write_text(CHILD)
    with subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True) as parent:
        pid, total = parent.stdout.readline().split()
        child = psutil.Process(int(pid))
        assert child.is_running()
        parent.kill()
    deadline = time.monotonic() + 20
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:  # that nobody has buried it is not its fault
        assert time.monotonic() < deadline, "the process outlives its parent"
        time.sleep(0.05)
    import torch  # noqa: F401  (from here on texts are embedded in this process)

    here = embedder("all-MiniLM-L6-v2", 64, "test")
    assert sum(here.similarity(f"text {n}", "text 3") for n in range(6)) == pytest.approx(float(total), abs=1e-4)


def test_an_embedding_model_that_is_missing_is_named():
    from harness.exceptions import PluginError

    with pytest.raises(PluginError, match=r"cannot load the model '\./no/such'") as caught:
        value("embedding_similarity", "x", "y", model="./no/such")
    assert "all-MiniLM-L6-v2" in caught.value.hint


def measured(**found):
    return EvalContext("generate", measured=found)


def reference(nats, tokens):
    return {"nats": nats, "tokens": tokens, "bytes": 4 * tokens}


def test_perplexity_takes_the_likeliest_reference_and_weighs_by_tokens():
    metric = create("gold_perplexity")
    # 1.2 nats over 2 tokens are likelier per token than 1.0 over 1 and than 3.0 over 3.
    first = measured(references=[reference(3.0, 3), reference(1.2, 2), {"reason": "too long"}, reference(1.0, 1)])
    second = measured(references=[reference(4.0, 4)])
    records = [metric.record(predicted("x"), gold("a"), context) for context in (first, second)]
    assert records[0] == {"nats": 1.2, "tokens": 2, "bytes": 8}
    assert metric.aggregate(records) == pytest.approx(math.exp(5.2 / 6))
    assert metric.aggregate(records[:1]) == pytest.approx(math.exp(0.6))
    lost = metric.record(predicted("x"), gold("a"), measured(references=[{"reason": "too long"}]))
    assert lost == {"reason": "too long"} and metric.aggregate([*records, lost]) == metric.aggregate(records)
    assert metric.aggregate([{"nats": 1e6, "tokens": 1, "bytes": 1}]) is None


def test_consistency_counts_pairs():
    def of(texts, context=None, **options):
        again = [{"text": text, "finish": "stop", "sample": n} for n, text in enumerate(texts[1:])]
        told = replace(context or FREE, measured={"answers": again})
        return create("consistency", **options).record(predicted(texts[0]), gold("x"), told)

    # Six pairs of four answers: the two that are Paris agree.
    assert of(["Paris", "paris!", "London", "Rome"]) == {"value": pytest.approx(1 / 6), "answers": 4}
    assert of(["red b", "Red B.", "b"])["value"] == pytest.approx(1 / 3)
    assert of(["red car", "red bus", "car"], agreement="token_f1")["value"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    labels = EvalContext("generate", labels=("yes", "no"))
    assert of(["Yes", "yes.", "YES", "no"], labels, agreement="token_f1")["value"] == pytest.approx(3 / 6)
    assert of(["maybe", "Maybe!", "yes"], labels)["value"] == pytest.approx(1 / 3)


def test_consistency_says_why_there_is_nothing_to_compare():
    metric = create("consistency")

    def why(finish, answers):
        return metric.record(predicted("x", finish), gold("x"), measured(answers=answers))["reason"]

    assert "does not sample" in why("choice", [])
    assert "does not sample" in why("stop", [{"text": "", "finish": "overflow", "instruction": 0}])
    assert "window" in why("overflow", [{"text": "", "finish": "overflow", "sample": 0}])


def test_long_answers_are_scored_quickly():
    long = "word another thing " * 5500  # 100,000 characters
    for spec in SPECS:
        metric = create(spec.name)
        record = metric.record(
            predicted(long, scores={"x": 0.0}), gold("word thing", long), EvalContext("choose", ("x",))
        )
        assert "value" in record or record
    assert value("rouge_l", long, long) == 1.0
    assert value("rouge_lsum", long + "\n" + long, "word thing") > 0


# ------------------------------------------------------------------------------------------- labels, numbers, forms


def test_accuracy_tells_labels_apart_that_differ_only_in_case():
    context = EvalContext("choose", ("Refund", "refund"))
    assert value("accuracy", "refund", "Refund", context=context) == 0
    assert value("accuracy", "Refund", "Refund", context=context) == 1


def test_numeric_tolerance_and_pick():
    assert value("numeric", "about 1,946", "1945") == 0
    assert value("numeric", "1946", "1945", relative=0.01) == 1
    assert value("numeric", "2 + 3 = 5", "5") == 0
    assert value("numeric", "2 + 3 = 5", "5", pick="last") == 1
    assert value("numeric", "none", "5") == 0
    assert value("numeric", "5", "five") is None


def test_json_and_schema_and_regex():
    assert [value("json_valid", t) for t in ('{"a": 1}', "{'a': 1}", "NaN", "[1] x", "[" * 100_000, "9" * 9999)] == [
        *(1, 0, 0, 0, 0, 1)
    ]
    assert value("json_valid", "```json\n[1]\n```") == 0
    assert value("json_valid", "```json\n[1]\n```", fenced=True) == 1
    assert [value("json_schema", t) for t in ('{"a": 1}', '{"b": 1}', "[]", "a")] == [1, 0, 0, 0]
    remote = create("json_schema", schema={"$ref": "http://example.invalid/schema.json"})
    assert "example.invalid" in remote.record(predicted("1"), gold(), FREE)["reason"]
    assert [value("regex", t, pattern=r"[A-D]", whole=True) for t in ("B", " B\n", "AB")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("regex", {"pattern": "("}, "not a regular expression"),
        ("json_schema", {"schema": {"type": "thing"}}, "not a JSON schema"),
        ("numeric", {"relative": -1}, "greater than or equal to 0"),
        ("ece", {"bin": 3}, "Extra inputs"),
        ("consistency", {"samples": 0}, "nothing to compare"),
    ],
)
def test_wrong_settings_are_refused(name, options, message):
    with pytest.raises(ValidationError, match=message):
        create(name, **options)


def test_listing_metrics_imports_nothing_heavy():
    code = "import sys, harness_plugins.metrics, harness_plugins.errors; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pydantic", "rouge_score", "nltk", "sacrebleu", "rapidfuzz", "jsonschema", "numpy"} & set(loaded)
