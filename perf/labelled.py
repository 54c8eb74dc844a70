"""Answers of the bundled model with the error categories that readers gave them.

Texts from public data sets are not copied: such a row's prompt, input and references are lists of parts, each a text of
ours or [file, row, path of the field, start, end] in a folder with the public data sets, and its digest says whether
the texts found there are the ones that were labelled. Where the folder or a text is missing the row is left out.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

LABELLED = Path(__file__).parent.parent / "tests" / "data" / "labelled_answers.jsonl"


def read(data: str | Path | None = None, path: Path = LABELLED) -> list[dict[str, Any]]:
    """The rows whose texts are known, in the file's order. `data`: the folder with the public data sets."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = (_whole(json.loads(line), None if data is None else Path(data)) for line in lines if line.strip())
    return [row for row in rows if row is not None]


def held_out(row: Mapping[str, Any]) -> bool:
    """Whether a row is for measuring; nobody looks at such rows while rules and thresholds are chosen."""
    return bool(row.get("held_out"))


def _whole(row: dict[str, Any], data: Path | None) -> dict[str, Any] | None:
    wanted = row.pop("digest", None)
    if wanted is None:
        return row
    if data is None:
        return None
    try:
        prompt, asked = _text(row["prompt"], data), _text(row["input"], data)
        references = [_text(parts, data) for parts in row["references"]]
    except (OSError, LookupError, TypeError):
        return None
    found = hashlib.sha256("\x00".join([prompt, asked, *references]).encode()).hexdigest()
    return {**row, "prompt": prompt, "input": asked, "references": references} if found.startswith(wanted) else None


def _text(parts: str | Sequence[str | Sequence[Any]], data: Path) -> str:
    if isinstance(parts, str):
        return parts
    return "".join(part if isinstance(part, str) else _piece(part, data) for part in parts)


def _piece(part: Sequence[Any], data: Path) -> str:
    file, row, field, start, end = part
    found = _records(data / file)[row]
    for key in field:
        found = found[key]
    return str(found)[start:end]


@lru_cache(None)
def _records(file: Path) -> list[Any]:
    with file.open(encoding="utf-8", newline="") as lines:
        if file.suffix == ".csv":
            return list(csv.DictReader(lines))
        return [json.loads(line) for line in lines if line.strip()]
