"""Precision and recall of the error classifiers on labelled answers of the bundled model.

`python -m perf.classifiers` prints one JSON object; with `--write` it also renews the table of
`docs/error-categories.md`, which says how the labels were made and what they are worth. Which half an answer belongs to
is drawn from its text.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.intervals import wilson
from harness.plugins import load_plugins
from harness.types import EvalContext, Example, Prediction, Query

ROOT = Path(__file__).parent.parent
LABELLED = ROOT / "tests" / "data" / "labelled_answers.jsonl"
PAGE = ROOT / "docs" / "error-categories.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
SURFACE = (
    "format",
    "off_label",
    "empty",
    "refusal",
    "verbose",
    "repetitive",
    "truncated",
    "misspelled",
    "copied_prompt",
    "numeric",
    "wrong_language",
)


@dataclass(frozen=True)
class Quality:
    """Of one category: answers that have it by hand (`wanted`), that the classifier names (`found`), and both."""

    wanted: int
    found: int
    both: int

    @property
    def precision(self) -> float | None:
        return self.both / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        return self.both / self.wanted if self.wanted else None


def read(path: Path = LABELLED) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def held_out(row: Mapping[str, Any]) -> bool:
    """Half of the answers, by their own text: adding some moves none of the others."""
    text = f"{row['task']}/{row['input']}/{row['answer']}"
    return hashlib.sha256(text.encode()).digest()[0] % 2 == 1


def classify(rows: Iterable[Mapping[str, Any]]) -> list[set[str]]:
    """The categories of each answer, by all built-in classifiers at their defaults."""
    entries = load_plugins().of_kind("error classifier")
    classifiers = [entry.create() for entry in entries if getattr(entry.spec, "default", True)]
    found = []
    for row in rows:
        made = Prediction("1", row["prompt"], row["answer"], row["answer"].strip(), row["finish"], 0, row["tokens"])
        example = Example(Query("1", {}), tuple(row["references"]))
        context = EvalContext("generate", tuple(row.get("task_labels", ())), row["input"])
        found.append({label.category for one in classifiers for label in one.classify(made, example, context)})
    return found


def qualities(rows: Sequence[Mapping[str, Any]], found: Sequence[set[str]]) -> dict[str, Quality]:
    return {
        name: Quality(
            sum(name in row["categories"] for row in rows),
            sum(name in names for names in found),
            sum(name in row["categories"] and name in names for row, names in zip(rows, found, strict=True)),
        )
        for name in SURFACE
    }


def halves(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Quality]]:
    result = {}
    for name, wanted in (("development", False), ("held out", True)):
        half = [row for row in rows if held_out(row) == wanted]
        result[name] = qualities(half, classify(half))
    return result


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown: the held-out half with 95 % intervals."""
    found = halves(rows)["held out"]
    tasks = len({row["task"] for row in rows})
    lines = [
        f"Measured on {len(rows):,} answers of the bundled model to {tasks} kinds of tasks; the figures are of the",
        "half whose errors were not looked at. Read them with care:",
        "",
        "- There was one reader, a language model that also wrote the rules, and it read fast. Nobody has checked it.",
        "- `empty` and `truncated` were marked by rule (nothing to read; token limit and no sentence's end) and looked",
        "  through, `verbose` in part for whole tasks at a time: agreement there is partly built in.",
        "- The thresholds of `verbose` and `format` are older than the guide. The rules for loops, copies, refusals",
        "  and calculations were changed after reading errors of the other half, with this half's totals in view.",
        "- A category with fewer than 30 answers is not measured yet, whatever stands in its row.",
        "",
        "| category | answers that have it (both halves) | held out | precision | recall |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, quality in found.items():
        both = sum(name in row["categories"] for row in rows)
        cells = [_share(quality.both, quality.found), _share(quality.both, quality.wanted)]
        lines.append(f"| `{name}` | {both} | {quality.wanted} | {cells[0]} | {cells[1]} |")
    return lines


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    low, high = wilson(part / whole, whole)
    return f"{part / whole:.2f} [{low:.2f}, {high:.2f}]"


def page(rows: Sequence[Mapping[str, Any]]) -> str:
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    return "\n".join([f"{before}{BEGIN}", "", *table(rows), "", f"{END}{after}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="renew the table in docs/error-categories.md")
    options = parser.parse_args()
    rows = read()
    if options.write:
        PAGE.write_text(page(rows), encoding="utf-8")
    result = {
        half: {name: {**vars(q), "precision": q.precision, "recall": q.recall} for name, q in found.items()}
        for half, found in halves(rows).items()
    }
    print(json.dumps({"answers": len(rows), **result}))


if __name__ == "__main__":
    main()
