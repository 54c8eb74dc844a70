"""What people read: the terminal report, one answer in full, JSON and Markdown, with friendly and hostile content."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
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
from harness.report.terminal import render

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
                "rag+lora wins: it beats every other arm by more than the margin of 0.05, and all these statements hold "
                "together with 95 % confidence.",
            ),
            runner_up="full-finetune",
            would_flip=("A margin of 0.380 or more would no longer leave a win.",),
            leader="rag+lora",
        ),
        detectable_difference=0.084,
        warnings=("latency was measured on 20 items only.",),
        advice=("96 of 113 errors of zero-shot are wrong facts: a knowledge gap, which retrieval closes.",),
    )
