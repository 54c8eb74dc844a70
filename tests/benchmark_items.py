"""Benchmark items for tests: generated ones of the real shape, and the real ones where HARNESS_DATA names them."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from harness_plugins.benchmarks.lm_eval import LmEval

ITEMS = 8
TEXT = (
    "the sun a river stone grows slowly under deep green water because many small birds carry seeds over old hills "
    "when rain falls and warm light moves across quiet fields where children read long letters about distant towns"
)
WORDS = TEXT.split()
SUBJECTS = ("anatomy", "astronomy")


# ------------------------------------------------------------------------------------------------- generated data


def sentence(draw: random.Random, low: int, high: int) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(low, high)))


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def arc_row(draw: random.Random, number: int) -> dict[str, Any]:
    choices = {"text": [sentence(draw, 1, 6) for _ in range(4)], "label": list("ABCD")}
    return {
        "id": f"q{number}",
        "question": sentence(draw, 6, 14) + "?",
        "choices": choices,
        "answerKey": draw.choice("ABCD"),
    }


def hellaswag_row(draw: random.Random, number: int) -> dict[str, Any]:
    endings = [sentence(draw, 3, 9) + "." for _ in range(4)]
    first, second = sentence(draw, 5, 9) + ".", sentence(draw, 1, 3)
    label = str(draw.randrange(4))
    return {"ind": number, "activity_label": "Walking", "ctx_a": first, "ctx_b": second, "endings": endings} | {
        "ctx": f"{first} {second}",
        "label": label,
    }


def mmlu_row(draw: random.Random, number: int) -> dict[str, Any]:
    choices = [sentence(draw, 1, 4) for _ in range(4)]
    return {"question": sentence(draw, 6, 12), "subject": "x", "choices": choices, "answer": draw.randrange(4)}


def truthful_row(draw: random.Random, number: int) -> dict[str, Any]:
    one = [sentence(draw, 3, 7) for _ in range(3)]
    many = [sentence(draw, 3, 7) for _ in range(5)]
    return {
        "question": sentence(draw, 5, 9) + "?",
        "mc1_targets": {"choices": one, "labels": [1, 0, 0]},
        "mc2_targets": {"choices": many, "labels": [1, 1, 0, 0, 0]},
    }


def generated_data(folder: Path) -> dict[str, dict[str, str]]:
    """Files of generated items, as [benchmarks.data] names them."""
    draw = random.Random(7)

    def rows(make: Any, count: int) -> list[dict[str, Any]]:
        return [make(draw, number) for number in range(count)]

    for subject in SUBJECTS:
        jsonl(folder / "mmlu" / subject / "test.jsonl", rows(mmlu_row, ITEMS))
        jsonl(folder / "mmlu" / subject / "dev.jsonl", rows(mmlu_row, 5))
    return {
        "arc_easy": {
            "test": jsonl(folder / "arc_test.jsonl", rows(arc_row, ITEMS)),
            "train": jsonl(folder / "arc_train.jsonl", rows(arc_row, 12)),
        },
        "hellaswag": {"validation": jsonl(folder / "hellaswag.jsonl", rows(hellaswag_row, ITEMS))},
        "mmlu_*": {split: str(folder / "mmlu" / "{subject}" / f"{split}.jsonl") for split in ("test", "dev")},
        "truthfulqa_mc*": {"validation": jsonl(folder / "truthful.jsonl", rows(truthful_row, ITEMS))},
    }


def four_benchmarks(data: dict[str, dict[str, str]], **more: Any) -> LmEval:
    tasks: list[Any] = ["arc_easy", "hellaswag", {"task": "mmlu_anatomy", "shots": 5}]
    return LmEval(LmEval.Config(tasks=[*tasks, "truthfulqa_mc1", "truthfulqa_mc2"], data=data, **more))


def real_data() -> dict[str, dict[str, str]]:
    """Files of the real benchmarks in the folder that HARNESS_DATA names."""
    folder = os.environ.get("HARNESS_DATA")
    if not folder:
        pytest.skip("HARNESS_DATA does not name a folder with the real benchmarks")
    root = Path(folder)
    data = {
        "arc_easy": {"test": root / "arc" / "arc_easy_test.jsonl", "train": root / "arc" / "arc_easy_train.jsonl"},
        "hellaswag": {"validation": root / "hellaswag" / "hellaswag_val.jsonl"},
        "mmlu_anatomy": {split: root / "mmlu" / "anatomy" / f"{split}.jsonl" for split in ("test", "dev")},
        "mmlu_astronomy": {split: root / "mmlu" / "astronomy" / f"{split}.jsonl" for split in ("test", "dev")},
        "truthfulqa_mc*": {"validation": root / "truthfulqa" / "truthfulqa_mc.jsonl"},
    }
    for files in data.values():
        for path in files.values():
            if not path.is_file():
                pytest.skip(f"HARNESS_DATA has no {path.relative_to(root)}")
    return {task: {split: str(path) for split, path in files.items()} for task, files in data.items()}
