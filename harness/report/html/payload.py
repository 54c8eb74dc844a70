"""The items of the HTML report as one compressed block of JSON that stays within its share of the page."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.analysis.items import Picked, first_trials, value_of
from harness.analysis.rows import RunRows
from harness.report.text import one_line, safe
from harness.store.answers import Answer, ItemAnswers

BUDGET = 1_500_000  # characters of base64: with the plots' code the page stays below 3 MiB
CLIPS = (100_000, 6_000, 2_500, 1_000, 400)  # longest text, in characters, tried in this order


@dataclass(frozen=True)
class ItemData:
    """Items with their texts, and how each answer was judged: `judged[item][arm]` = (category, {metric: value})."""

    picked: Picked = field(default_factory=lambda: Picked((), 0, 0))
    items: Sequence[ItemAnswers] = ()
    judged: Mapping[str, Mapping[str, tuple[str | None, Mapping[str, float | None]]]] = field(default_factory=dict)


def judged_items(rows: RunRows, items: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Category and scores of the first seed's answers."""
    trials = first_trials(rows)
    metrics = [metric.name for metric in rows.metrics]
    return {
        item: {
            arm: (
                trial.categories.get(item),
                {name: value_of(trial.records[name], item) for name in metrics if item in trial.records.get(name, {})},
            )
            for arm, trial in trials.items()
        }
        for item in items
    }


def pack(data: ItemData) -> tuple[str, int]:
    """(base64 of gzipped JSON, items in it). Long texts are clipped, then items left out, until it fits."""
    count = len(data.items)
    for clip in CLIPS:
        text = _compressed(data, count, clip)
        if len(text) <= BUDGET:
            return text, count
    while len(text) > BUDGET and count > 1:
        count = count * 2 // 3
        text = _compressed(data, count, CLIPS[-1])
    return text, count


def _compressed(data: ItemData, count: int, clip: int) -> str:
    passages: dict[tuple[str, str], int] = {}
    items = [_item(item, data.judged.get(item.item_id, {}), passages, clip) for item in data.items[:count]]
    known = [{"document": one_line(document), "text": _text(text, clip)} for document, text in passages]
    whole = json.dumps({"items": items, "passages": known}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(whole.encode(), 7, mtime=0)).decode()


def _item(item: ItemAnswers, judged: Mapping[str, Any], passages: dict[tuple[str, str], int], clip: int) -> Any:
    return {
        "id": one_line(item.item_id),
        "group": None if item.group is None else one_line(item.group),
        "input": _text(item.input, clip),
        "gold": [_text(gold, clip) for gold in item.gold],
        "answers": {
            one_line(arm): _answer(answer, judged.get(arm, (None, {})), item.evidence, passages, clip)
            for arm, answer in item.answers.items()
        },
    }


def _answer(
    answer: Answer,
    judged: tuple[str | None, Mapping[str, float | None]],
    evidence: Sequence[str],
    passages: dict[tuple[str, str], int],
    clip: int,
) -> dict[str, Any]:
    category, scores = judged
    found: dict[str, Any] = {
        "category": None if category is None else one_line(category),
        "scores": {one_line(name): None if value is None else round(value, 4) for name, value in scores.items()},
        "answer": _text(answer.parsed, clip),
        "prompt": _text(answer.prompt, clip),
        "finish": answer.finish,
        "tokens": [answer.tokens_in, answer.tokens_out],
    }
    if answer.raw.strip() != answer.parsed.strip():
        found["raw"] = _text(answer.raw, clip)
    if answer.error:
        found["error"] = _text(answer.error, clip)
    if answer.passages:
        # One passage is shown for many items and arms: it is kept once, under its number.
        found["passages"] = [
            [
                passages.setdefault((passage.document_id, passage.text), len(passages)),
                one_line(passage.title),
                round(passage.score, 3),
                passage.document_id in evidence,
            ]
            for passage in answer.passages
        ]
    return found


def _text(text: str, clip: int) -> str:
    """Harmless and not too long: the middle of a long text is left out, and the text says so."""
    shown = safe(text)
    if len(shown) <= clip:
        return shown
    half = clip // 2
    return f"{shown[:half]}\n[… {len(shown) - 2 * half:,} characters left out …]\n{shown[-half:]}"
