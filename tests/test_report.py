"""What people read: the terminal report, one answer in full, JSON and Markdown, with friendly and hostile content."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.analysis.result import (
    ArmCost,
    ArmResult,
    BreakEven,
    Comparison,
    Interval,
    LimitCheck,
    PairedChange,
    Verdict,
)
from harness.report import text
from harness.report.json import to_json_text
from harness.report.markdown import to_markdown
from harness.report.show import render_item
from harness.report.terminal import render
from harness.store import NewRun, NewTrial, open_store
from harness.store.queries import ItemDetail, show_item
from harness.types import ErrorLabel, Example, Passage, Prediction, Query

HOSTILE = (
    "[red]x[/red]",
    "\x1b[31mred",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "abc\u202edcba",
    "🙂‍🌍 日本語",
    "[/]",
    "a\rb\x00\x9b2J",
)


def arm(name: str, value: float, *, rank: int, **changes: Any) -> ArmResult:
    trained = "lora" in name or name in ("prompt-tuning", "full-finetune")
    rag = "rag" in name
    base = ArmResult(
        name=name,
        status="done",
        n=120,
        seeds=(0,),
        coverage=1.0,
        metrics={
            "token_f1": Interval(value, value - 0.05, value + 0.05),
            "contains": Interval(value * 0.9, 0.1, 0.9),
            "exact_match": Interval(value * 0.8, 0.1, 0.9),
            "rouge_l": Interval(value * 0.95, 0.1, 0.9),
        },
        change=None if rank == 0 else PairedChange(value - 0.06, 0.01, 0.2, 0.0001, 0.0004 * rank),
        errors={"correct": int(value * 120), "wrong_answer": 110 - int(value * 120), "verbose": 6, "empty": 4},
        cost=ArmCost(
            tokens_in_per_request=310.4 if rag else 62.3,
            tokens_out_per_request=8.2,
            usd_per_1k_requests=0.0153 * (1 + rank),
            train_usd=0.00861 if trained else 0.0,
            prepare_usd=0.0004 if rag else 0.0,
            train_wall_s=63.1 if trained else 0.0,
            prepare_wall_s=2.1 if rag else 0.004,
            predict_wall_s=14.2,
            trained_tokens=58_200 if trained else 0,
            trainable_parameters=4_884_480 if trained else None,
            artifact_bytes=19_553_000 if trained else None,
            peak_memory_bytes=2.1e9,
            lower_bounds=("usd_per_1k_requests",) if name == "lora" else (),
            seconds_per_1k_requests=118.0,
        ),
        latency_s={"p50": 0.182, "p95": 0.411},
        retrieval_recall=Interval(0.925, 0.86, 0.96) if rag else None,
        loss=(2.414, 0.382) if trained else None,
    )
    return replace(base, **changes)


RUN = {
    "id": "20261121-070659-ab12",
    "name": "factbook-qa",
    "status": "done",
    "seeds": [0],
    "model": {
        "label": "SmolLM2-135M-Instruct (Q4_1, dequantised)",
        "digest": "5f" * 32,
        "dtype": "bfloat16",
        "device": "cpu",
    },
    "task": {"loader": "factbook", "test": 120, "warnings": ["3 test questions occur twice."]},
    "versions": {"adaptation-harness": "0.1.0", "torch": "2.13.0", "transformers": "5.20.0", "peft": "0.21.0"},
    "machine": {"processor": "A Processor", "cores": 2},
    "results": "results/harness.db",
}


def quickstart() -> Comparison:
    values = {
        "zero-shot": 0.061,
        "few-shot": 0.112,
        "rag": 0.183,
        "prompt-tuning": 0.204,
        "lora": 0.322,
        "full-finetune": 0.341,
        "rag+lora": 0.823,
    }
    return Comparison(
        run=RUN,
        primary_metric="token_f1",
        baseline="zero-shot",
        arms=tuple(arm(name, value, rank=rank) for rank, (name, value) in enumerate(values.items())),
        verdict=Verdict(
            "win",
            "rag+lora",
            reasons=(
                "7 of 7 arms can be chosen.",
                "rag+lora has the highest token_f1: 0.823, over 120 items.",
                "rag+lora is ahead of full-finetune by 0.482, and by +0.380 at the least (all bounds at once).",
                "rag+lora wins: it beats every other arm by more than the margin of 0.05, and all these statements "
                "hold together with 95 % confidence.",
            ),
            runner_up="full-finetune",
            would_flip=("A margin of 0.380 or more would no longer leave a win.",),
            leader="rag+lora",
        ),
        detectable_difference=0.084,
        warnings=("latency was measured on 20 items only.",),
        advice=("96 of 113 errors of zero-shot are wrong facts: a knowledge gap, which retrieval closes.",),
    )


def printed(comparison: Comparison, width: int = 100, *, terminal: bool = False) -> str:
    out = io.StringIO()
    render(
        comparison,
        Console(file=out, width=width, force_terminal=terminal, color_system="standard" if terminal else None),
    )
    return out.getvalue()


def bare(name: str, **changes: Any) -> ArmResult:
    """An arm about which nothing is known."""
    values: dict[str, Any] = {
        "status": "pending",
        "n": 0,
        "seeds": (),
        "coverage": None,
        "metrics": {"token_f1": Interval(None)},
        "change": PairedChange(None),
        "errors": {},
        "cost": ArmCost(),
        "latency_s": {"p50": None, "p95": None},
    }
    return ArmResult(name=name, **{**values, **changes})


# ------------------------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        (text.seconds, None, "–"),
        (text.seconds, math.nan, "–"),
        (text.seconds, 0, "0 ms"),
        (text.seconds, 0.0004, "0.4 ms"),
        (text.seconds, 0.012, "12 ms"),
        (text.seconds, 0.9996, "1.0 s"),
        (text.seconds, 1.34, "1.3 s"),
        (text.seconds, 99.7, "1 min 40 s"),
        (text.seconds, 120, "2 min"),
        (text.seconds, 4320, "1 h 12 min"),
        (text.seconds, 3599.9, "1 h"),
        (text.size, 4_404_019, "4.2 MiB"),
        (text.size, 512, "512 B"),
        (text.size, 1023.9, "1.0 KiB"),
        (text.size, None, "–"),
        (text.count, 135_000_000, "135 M"),
        (text.count, 999_999, "1.0 M"),
        (text.count, 12_300, "12.3 k"),
        (text.count, 812, "812"),
        (text.usd, None, "–"),
        (text.usd, 0, "$0"),
        (text.usd, 0.00423, "$0.0042"),
        (text.usd, 0.5, "$0.50"),
        (text.usd, 1.2, "$1.20"),
        (text.usd, 1234.4, "$1,234"),
        (text.usd, 1e-9, "<$0.0001"),
        (text.usd, 0.00005, "$0.000050"),
        (text.usd, -2.5, "−$2.50"),
        (text.score, 0.8234, "0.823"),
        (text.score, -0.05, "−0.050"),
        (text.score, 41.23, "41.23"),
        (text.score, math.inf, "–"),
        (text.p_value, 0.0004, "<0.001"),
        (text.p_value, 0.0123, "0.012"),
        (text.p_value, 1.0, "1.00"),
    ],
)
def test_units(function: Any, value: float | None, expected: str) -> None:
    assert function(value) == expected


def test_lower_bounds_and_signs() -> None:
    assert text.usd(0.5, at_least=True) == "≥ $0.50"
    assert text.score(0.05, signed=True) == "+0.050"
    assert text.interval(None, None) == "" and text.interval(0.1, None) == "[0.100, –]"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title\x07x", "x"),
        ("\x9b2Jx\x9d0;t\x9c", "x"),
        ("\x1bP+q\x1b\\x", "x"),
        ("\x1bcx\x1b(B", "x"),
        ("\x1b]8;;never ends", "8;;never ends"),
        ("\x1b[", ""),
        ("\x1b", ""),
        ("a\u202eb\u2066c\u200fd", "abcd"),
        ("a\r\nb\rc\td\x00", "a\nbc\td"),
        ("half \ud83d pair", "half  pair"),
        ("🙂‍🌍 日本語 [red]", "🙂‍🌍 日本語 [red]"),
    ],
)
def test_nothing_that_a_terminal_obeys_is_left(given: str, expected: str) -> None:
    assert text.safe(given) == expected


# ---------------------------------------------------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_report_fits_its_width_and_cuts_nothing(width: int) -> None:
    comparison = quickstart()
    out = printed(comparison, width)
    commands = [line for line in out.splitlines() if line.startswith("  harness ")]
    assert len(commands) == 4, "commands stand on one line each"
    assert all(len(line) <= width for line in out.splitlines() if line not in commands)
    for name in [arm.name for arm in comparison.arms]:
        assert name in out
    for words in ("Choose rag+lora", "0.823", "[0.77, 0.87]", "+0.763", "≥ $0.076", "411 ms", "182 ms", "63 s"):
        assert words in out, words
    for words in ("58.2 k", "4.9 M", "18.6 MiB", "2.41 → 0.38", "0.925", "20261121-070659-ab12", "torch 2.13.0"):
        assert words in out, words
    assert "…" not in out and "\x1b" not in out


def test_wide_report_has_scores_and_costs_in_one_table() -> None:
    line = next(line for line in printed(quickstart(), 150).splitlines() if line.startswith("rag+lora"))
    for cell in ("0.823", "+0.763", "0.741", "$0.11", "$0.0086", "63 s", "182 ms", "411 ms"):
        assert cell in line


def test_arms_stand_in_the_files_order_and_the_chosen_one_is_marked() -> None:
    out = printed(quickstart())
    table = out[out.index("Scores") :]
    places = [table.index(f"\n{arm.name} ") for arm in quickstart().arms]
    assert places == sorted(places)
    assert "rag+lora ★" in out and "★ chosen" in out and "▲" not in out


def test_leader_that_is_not_chosen_is_marked_as_best() -> None:
    verdict = Verdict("tie", "lora", ("lora and rag+lora tie.",), tied=("lora", "rag+lora"), leader="rag+lora")
    out = printed(replace(quickstart(), verdict=verdict))
    assert "lora ★" in out and "rag+lora ▲" in out and "▲ best score" in out
    assert "Choose lora: as good as rag+lora, and the cheapest." in out


def test_insufficient_evidence_says_so() -> None:
    verdict = Verdict("insufficient", None, ("A.", "B.", "About 900 items would settle it."), leader="rag+lora")
    out = printed(replace(quickstart(), verdict=verdict))
    assert "No choice yet: the evidence is insufficient. rag+lora leads." in out and "About 900 items" in out


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_nothing_is_known(width: int) -> None:
    verdict = Verdict("insufficient", None)
    comparison = Comparison({}, "token_f1", "a", (bare("a"), bare("b")), verdict)
    out = printed(comparison, width)
    assert "No choice: there is nothing to compare." in out and "pending" in out
    assert "None" not in out and "nan" not in out.lower() and "$0" not in out
    empty = Comparison({}, "token_f1", "a", (), verdict)
    assert "nothing to compare" in printed(empty, width)


def test_one_arm() -> None:
    comparison = quickstart()
    one = replace(comparison, arms=comparison.arms[:1], verdict=Verdict("insufficient", None, leader="zero-shot"))
    out = printed(one)
    assert "nothing to compare" in out and "1 arm" in out and "change" not in out


def test_failed_arm_stays_in_the_tables_with_its_error() -> None:
    comparison = quickstart()
    broken = bare("lora", status="failed", error="[red]CUDA[/red] out of memory\nTraceback", change=None)
    out = printed(replace(comparison, arms=(*comparison.arms[:2], broken)))
    assert "✗ lora failed: [red]CUDA[/red] out of memory\n" in out and "Traceback" not in out
    assert any(line.startswith("lora") and "failed" in line and "–" in line for line in out.splitlines())


def test_missing_items_are_shown() -> None:
    comparison = quickstart()
    arms = (comparison.arms[0], replace(comparison.arms[1], n=60, coverage=0.5))
    out = printed(replace(comparison, arms=arms), 140)
    assert "items" in out and "50.0%" in out


def test_without_prices_time_is_shown_and_no_money() -> None:
    comparison = quickstart()
    free = [replace(arm, cost=ArmCost(seconds_per_1k_requests=118.0, train_wall_s=3.0)) for arm in comparison.arms]
    out = printed(replace(comparison, arms=tuple(free)))
    assert "$" not in out and "time / 1,000" in out and "1 min 58 s" in out


def test_seeds_limits_and_break_even() -> None:
    comparison = quickstart()
    arms = tuple(replace(arm, seeds=(0, 1), seed_spread=(0.1, 0.2)) for arm in comparison.arms)
    checks = tuple(LimitCheck(arm.name, "latency_p95_s", 2.0, "met") for arm in arms[1:])
    even = (BreakEven("rag+lora", "lora", 12_000), BreakEven("zero-shot", "few-shot", 5))
    out = printed(replace(comparison, arms=arms, limits=checks, break_even=even), 140)
    assert "0.100 to 0.200" in out and "latency_p95_s" in out and "≤ 2" in out and "met" in out
    assert (
        "Below 12.0 k requests a month rag+lora is cheaper, above it lora." in out and "few-shot is cheaper" not in out
    )


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("terminal", [False, True])
def test_hostile_text_is_printed_as_text(hostile: str, terminal: bool) -> None:
    comparison = quickstart()
    harmless = text.one_line(hostile)
    arms = tuple(
        replace(
            arm,
            name=f"{hostile}{number}",
            error=hostile,
            notes=(hostile,),
            status="failed",
            metrics={hostile: Interval(0.5, 0.4, 0.6)},
            errors={hostile: 3},
        )
        for number, arm in enumerate(comparison.arms[:2])
    )
    verdict = Verdict("win", f"{hostile}1", (hostile,), would_flip=(hostile,), leader=f"{hostile}1")
    run = {**RUN, "name": hostile, "id": hostile, "model": {"label": hostile}, "task": {"warnings": [hostile]}}
    whole = Comparison(run, hostile, f"{hostile}0", arms, verdict, warnings=(hostile,), advice=(hostile,))
    for width in (80, 140):
        out = printed(whole, width, terminal=terminal)
        plain = text.safe(out) if terminal else out
        assert harmless in plain
        assert "http://evil" not in out and "\u202e" not in out and "\x1b]" not in out and "\x9b" not in out
        if not terminal:
            assert "\x1b" not in out and "\r" not in out and "\x07" not in out
    json.loads(to_json_text(whole))
    assert "\x1b" not in to_markdown(whole)


def test_long_names_fold_and_are_whole() -> None:
    comparison = quickstart()
    name = "a-very-long-name-" * 8
    arms = (comparison.arms[0], replace(comparison.arms[1], name=name))
    out = printed(replace(comparison, arms=arms), 80)
    table = out[out.index("Scores") : out.index("★")]
    assert name in "".join(line[:40].strip() for line in table.splitlines())
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("  harness"))


def test_colours_on_a_terminal_only() -> None:
    assert "\x1b[" in printed(quickstart(), terminal=True) and "\x1b[" not in printed(quickstart())


def test_commands_name_another_database() -> None:
    run = {**RUN, "results": "my results/x.db"}
    out = printed(replace(quickstart(), run=run))
    assert "harness report 20261121-070659-ab12 --json --results 'my results/x.db'" in out


# ------------------------------------------------------------------------------------------------- JSON and Markdown


def test_json_has_the_documented_form() -> None:
    data = json.loads(to_json_text(quickstart()))
    assert data["format"] == 1 and data["run"]["id"] == RUN["id"]
    arm = data["arms"][-1]
    assert arm["name"] == "rag+lora" and arm["n"] == 120 and arm["errors"]["correct"] == 98
    assert arm["metrics"]["token_f1"] == {
        "value": 0.823,
        "low": pytest.approx(0.773),
        "high": pytest.approx(0.873),
        "note": "",
    }
    assert arm["cost"]["train_usd"] == 0.00861 and arm["latency_s"] == {"p50": 0.182, "p95": 0.411}
    assert data["verdict"]["outcome"] == "win" and data["verdict"]["arm"] == "rag+lora"


def test_json_is_as_the_documented_schema_says() -> None:
    import jsonschema

    documented = json.loads((Path(__file__).parent.parent / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(documented)
    validator = jsonschema.Draft202012Validator(documented)
    whole = json.loads(to_json_text(quickstart()))
    validator.validate(whole)
    validator.validate(json.loads(to_json_text(replace(quickstart(), arms=(bare("a"),)))))
    for wrong in ({**whole, "format": 2}, {**whole, "arms": {}}, {**whole, "verdict": {"outcome": 1}}):
        assert not validator.is_valid(wrong)


def test_json_never_has_nan() -> None:
    comparison = quickstart()
    arms = (replace(comparison.arms[0], metrics={"token_f1": Interval(math.nan, -math.inf, None)}),)
    data = json.loads(to_json_text(replace(comparison, arms=arms, run={"x": {1: {2, 3}}, "text": "é\x9b"})))
    assert data["arms"][0]["metrics"]["token_f1"]["value"] is None
    assert to_json_text(comparison).isascii()


def test_markdown() -> None:
    out = to_markdown(quickstart())
    assert out.startswith("# factbook-qa\n") and "> Choose rag+lora" in out
    lines = [line for line in out.splitlines() if line.startswith("|")]
    widths = {}
    for line in lines:
        widths.setdefault(line.count("|"), []).append(line)
    assert all(len(same) % 9 == 0 for same in widths.values()), "7 arms, a header and a rule in every table"
    assert "exact\\_match" in out.replace("exact match", "exact\\_match") and "≥ \\$0.076" in out
    hostile = replace(quickstart(), run={"name": "<script>|`*_\n# x"})
    assert to_markdown(hostile).startswith("# \\<script\\>\\|\\`\\*\\_ \\# x\n")


# -------------------------------------------------------------------------------------------------------- one answer


@pytest.fixture
def detail(tmp_path: Path) -> ItemDetail:
    with open_store(tmp_path / "harness.db") as store:
        example = Example(Query("q1", {"question": "Capital of France?"}, "France"), ("Paris", "paris"), ("d1",))
        store.save_items("task", "csv", {"test": [example]}, {"q1": "Capital of France?"})
        prices = {"usd_per_1k_input_tokens": 0.01, "usd_per_1k_output_tokens": 0.04}
        new = NewRun("k", "capitals", "task", "rag", "f1", ["rag"], config_resolved={"cost": prices})
        run = store.begin_run(new)
        trial = store.begin_trial(NewTrial("p", "a", "rag", 0))
        store.link_trial(run, trial, "rag", 0, 0)
        passages = (Passage("d1", "France", "The capital is Paris.", 7.25, 1), Passage("d2", "", "Else.", 1.0, 2))
        answer = Prediction("q1", "<|user|>\nCapital of France?", " Lyon\nis", "Lyon", "length", 100, 5, passages)
        store.add_predictions(trial, [answer])
        store.add_scores(trial, "f1", "1", {"q1": {"value": 0.25, "precision": 1 / 3}})
        store.add_error_labels(trial, "surface", "1", {"q1": [ErrorLabel("wrong_answer", "no word is shared")]})
        store.add_latencies(trial, {"q1": 0.3})
        store.finish_trial(trial, "done")
        return show_item(store, run, "rag", "q1")


def shown(detail: ItemDetail, width: int = 80) -> str:
    out = io.StringIO()
    render_item(detail, Console(file=out, width=width))
    return out.getvalue()


def test_one_answer_in_full(detail: ItemDetail) -> None:
    out = shown(detail)
    for words in (
        "rag · item q1",
        "group France",
        "Capital of France?\n",
        "Paris\nparis\n",
        "Lyon",
        " Lyon\nis\n",
        "wrong_answer",
        "no word is shared",
        "0.250 (precision 0.333)",
        "cut off at the token limit",
        "100 in, 5 out",
        "300 ms",
        "$0.0012",
        "the document with the answer was found",
        "1. [d1] France (7.25) ✓",
        "2. [d2] (1)\n",
        "<|user|>\nCapital of France?",
    ):
        assert words in out, words


@pytest.mark.parametrize("hostile", HOSTILE)
def test_one_hostile_answer(detail: ItemDetail, hostile: str) -> None:
    passages = (Passage(hostile, hostile, hostile, 1.0, 1),)
    scores = {hostile: -1.0, **{f"label {number}": -2.0 - number for number in range(12)}}
    answer = replace(
        detail.prediction, prompt=hostile, raw=hostile, parsed="", passages=passages, label_scores=scores, error=hostile
    )
    bad = replace(
        detail, prediction=answer, gold=(hostile, "label 11"), input=hostile, labels=(ErrorLabel(hostile, hostile),)
    )
    out = shown(bad)
    assert text.safe(hostile) in out and "(empty)" in out and "label 11  ← gold, place 13" in out
    for forbidden in ("\x1b", "\x9b", "\x07", "\r", "\u202e", "http://evil"):
        assert forbidden not in out
    if text.safe(hostile) != hostile:
        assert "control characters are not shown" in out


def test_one_answer_with_nothing_known(detail: ItemDetail) -> None:
    answer = replace(detail.prediction, passages=(), finish="error", error="worker died", raw="", parsed="")
    out = shown(
        replace(
            detail, prediction=answer, gold=(), input=None, scores={}, labels=(), primary=None, latency_s=None, usd=None
        )
    )
    assert "the harness failed on this item" in out and "worker died" in out and "question: Capital of France?" in out
    assert "None" not in out


def test_long_prompt_lines_are_not_broken(detail: ItemDetail) -> None:
    prompt = "word " * 100
    assert prompt.strip() in shown(replace(detail, prediction=replace(detail.prediction, prompt=prompt)), 60)
