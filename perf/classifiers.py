"""Precision and recall of the error classifiers on labelled answers of the bundled model.

`python -m perf.classifiers --data DIR` prints one JSON object; with `--write` it also renews the table of
`docs/error-categories.md`, which says how the labels were made and what they are worth. `--errors CATEGORY` shows what
is missed and wrongly found among the answers to tune by; those held out are never shown. Without the folder of public
data sets only the answers whose prompts are our own are measured (see `perf.labelled`).
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.intervals import wilson
from harness.plugins import load_plugins
from harness.types import EvalContext, Example, Passage, Prediction, Query
from perf.labelled import held_out, read

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "error-categories.md"
NOTHING = "qqq"  # for a description of what was wanted, which has no words to look for
DECLINING = ("(unknown)", "(a polite no)", "(no private data)")  # descriptions of answers that ought to decline
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
# What takes understanding.
SEMANTIC = ("unsupported", "partially_correct", "missing_part")
_CONTEXT = re.compile(r"Context:\n(.+?)\n\n", re.DOTALL)


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


def classify(rows: Iterable[Mapping[str, Any]]) -> list[set[str]]:
    """The categories of each answer, by all built-in classifiers at their defaults."""
    entries = load_plugins().of_kind("error classifier")
    classifiers = [entry.create() for entry in entries if getattr(entry.spec, "default", True)]
    found = []
    for row in rows:
        shown = [
            Passage(str(rank), "", text, 1.0, rank) for rank, text in enumerate(_CONTEXT.findall(row["prompt"]), 1)
        ]
        said = row["answer"]
        made = Prediction("1", row["prompt"], said, said.strip(), row["finish"], 0, row["tokens"], tuple(shown))
        example = Example(Query("1", {}), (NOTHING,) if _described(row) else tuple(row["references"]))
        context = EvalContext("generate", tuple(row.get("task_labels", ())), row["input"])
        found.append({label.category for one in classifiers for label in one.classify(made, example, context)})
    return found


def qualities(rows: Sequence[Mapping[str, Any]], found: Sequence[set[str]]) -> dict[str, Quality]:
    result = {}
    for name in (*SURFACE, *SEMANTIC):
        judged = [
            (name in row["categories"], name in names)
            for row, names in zip(rows, found, strict=True)
            if is_judged(row, name)
        ]
        result[name] = Quality(
            sum(wanted for wanted, _ in judged), sum(named for _, named in judged), sum(a and b for a, b in judged)
        )
    return result


def is_judged(row: Mapping[str, Any], name: str) -> bool:
    """Whether readers could say that an answer is in a category or is not. They could not where they differed. A
    reference in round brackets says what was wanted without giving it: readers know from it whether declining was, and
    not how long an answer may be or what has to be in it; a classifier cannot know either."""
    unknowable = name in ("verbose", "format") or (name == "refusal" and row["references"][0] in DECLINING)
    return name not in row.get("doubtful", ()) and not (_described(row) and unknowable)


def _described(row: Mapping[str, Any]) -> bool:
    return all(reference.startswith("(") for reference in row["references"])


def halves(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Quality]]:
    result = {}
    for name, wanted in (("development", False), ("held out", True)):
        half = [row for row in rows if held_out(row) == wanted]
        result[name] = qualities(half, classify(half))
    return result


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown: the held-out answers with 95 % intervals."""
    found = halves(rows)
    measured, tasks = sum(map(held_out, rows)), len({row["task"] for row in rows})
    lines = [
        f"{len(rows):,} answers of the bundled model in {tasks} kinds of tasks. Precision and recall are of the",
        f"{measured:,} that nobody looked at while rules and thresholds were chosen. The last three categories take",
        "understanding, and rules do not see much of them.",
        "",
        "| category | to tune by | held out | precision | recall |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, quality in found["held out"].items():
        cells = [_share(quality.both, quality.found), _share(quality.both, quality.wanted)]
        known = found["development"][name].wanted
        lines.append(f"| `{name}` | {known} | {quality.wanted} | {cells[0]} | {cells[1]} |")
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


def errors(rows: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """Of the development half, the answers on which classifiers and readers differ about a category."""
    half = [row for row in rows if not held_out(row)]
    shown = []
    for row, names in zip(half, classify(half), strict=True):
        if (name in row["categories"]) != (name in names) and is_judged(row, name):
            what = "MISSED" if name in row["categories"] else "WRONG"
            asked = f"{row['prompt'][-300:]!r} -> {row['references']} {row['task_labels']}"
            said = f"readers {row['categories']}, classifiers {sorted(names)}"
            shown.append(f"{what} {row['task']} {row['finish']}: {asked}\n    {row['answer']!r}\n    {said}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("HARNESS_DATA"), help="folder with the public data sets")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/error-categories.md")
    parser.add_argument(
        "--errors", metavar="CATEGORY", choices=(*SURFACE, *SEMANTIC), help="show the development half's errors"
    )
    options = parser.parse_args()
    rows = read(options.data)
    if options.errors:
        print("\n".join(errors(rows, options.errors)))
        return
    if options.write:
        PAGE.write_text(page(rows), encoding="utf-8")
    result = {
        half: {name: {**vars(q), "precision": q.precision, "recall": q.recall} for name, q in found.items()}
        for half, found in halves(rows).items()
    }
    print(json.dumps({"answers": len(rows), **result}))


if __name__ == "__main__":
    main()
