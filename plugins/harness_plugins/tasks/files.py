"""Your own data: examples from JSON Lines or CSV, documents from text, Markdown or JSON Lines.

All problems of all files are reported together. The columns that hold an answer never reach `Query.fields`.
"""

from __future__ import annotations

import csv
import difflib
import glob
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.exceptions import DataError
from harness.rendering import fill, template_fields
from harness.types import Document, Example, LoadedData, Query

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
MOST_PROBLEMS = 20


class _FilesConfig(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    train: str | None = Field(None, description="File of training examples.")
    validation: str | None = Field(None, description="File of validation examples.")
    test: str | None = Field(None, description="File of test examples.")
    data: str | None = Field(None, description="One file that is split, in place of train, validation and test.")
    corpus: str | list[str] | None = Field(None, description="Documents: a pattern, or several, of .md, .txt, .jsonl.")
    target: str = Field("{answer}", min_length=1, description="Template of the answer over the columns.")
    references: str | None = Field(None, description="Column with (further) acceptable answers.")
    references_separator: str | None = Field(None, min_length=1, description="What separates several in one text.")
    id: str | None = Field(None, description="Column that names each example; default: the row's number.")
    group: str | None = Field(None, description="Column whose values never stand in two splits.")
    evidence: str | None = Field(None, description="Column with the ids of the documents that state the answer.")
    split_column: str | None = Field(None, description="Column that says train, validation or test.")
    chunk_words: int = Field(120, ge=10, description="About how long the passages of a text file are.")
    encoding: str = Field("utf-8", description="Encoding of the files.")

    @model_validator(mode="after")
    def _one_source(self) -> _FilesConfig:
        separate = [name for name in ("train", "validation", "test") if getattr(self, name)]
        if self.data and separate:
            raise ValueError(f"data is one file to be split; it cannot stand beside {', '.join(separate)}.")
        if not self.data and not self.test:
            raise ValueError("name a test file, or one data file that is split.")
        if self.split_column and not self.data:
            raise ValueError("split_column belongs to a single data file.")
        try:
            "".encode(self.encoding)
        except LookupError:
            raise ValueError(f"unknown encoding '{self.encoding}'.") from None
        return self


@dataclass(frozen=True)
class _Row:
    """One row: where it stands, its number among the rows, its columns."""

    line: int
    number: int
    columns: Mapping[str, Any]


class _Reader:
    """Collects problems over all files, to report them together."""

    def __init__(self, folder: str, encoding: str) -> None:
        self.folder = Path(folder)
        self.encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        self.problems: list[str] = []
        self.notes: list[str] = []

    def problem(self, file: str, line: int | None, message: str) -> None:
        self.problems.append(f"{file}, line {line}: {message}" if line is not None else f"{file}: {message}")

    def raise_problems(self) -> None:
        if self.problems:
            count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
            shown = self.problems[:MOST_PROBLEMS]
            if len(self.problems) > MOST_PROBLEMS:
                shown.append(f"… and {len(self.problems) - MOST_PROBLEMS} more")
            raise DataError(
                f"{count} in the task's files:\n    " + "\n    ".join(shown),
                hint="Correct the files, or the settings of [task] that name files and columns.",
            )

    def text(self, file: str) -> str | None:
        """The file's text, or None after noting why there is none."""
        path = self.folder / file
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            there = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
            known = there if path.parent.is_dir() else [f"no folder {os.path.dirname(file)}"]
            self.problem(file, None, f"file not found. {_nearest(path.name, known)}")
            return None
        except OSError as error:
            self.problem(file, None, f"cannot be read: {error.strerror}.")
            return None
        try:
            text = data.decode(self.encoding)
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            hint = 'Save it as UTF-8, or set encoding, such as encoding = "latin-1".'
            self.problem(file, line, f"not {self.encoding.removesuffix('-sig')}: byte {data[error.start]:#04x}. {hint}")
            return None
        if not text.strip():
            self.problem(file, None, "is empty.")
            return None
        return text

    def jsonl(self, file: str) -> list[_Row] | None:
        text = self.text(file)
        if text is None:
            return None
        rows: list[_Row] = []
        mended = 0
        for line, content in enumerate(text.split("\n"), 1):
            if not content.strip():
                continue
            try:
                value = json.loads(content)
            except json.JSONDecodeError as error:
                self.problem(file, line, f"not valid JSON: {error.msg} (column {error.colno}).")
                continue
            except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
                self.problem(file, line, f"cannot be read as JSON: {error}.")
                continue
            if "\\ud" in content.lower() and (whole := _whole(value)) != value:
                value, mended = whole, mended + 1
            if isinstance(value, dict):
                rows.append(_Row(line, len(rows) + 1, value))
            else:
                self.problem(file, line, f'each line must be an object {{"name": value}}, not {type(value).__name__}.')
        if mended:
            self.notes.append(f"{file}: {mended} line(s) with half a character (a lone surrogate), read as U+FFFD.")
        return rows

    def csv(self, file: str, delimiter: str) -> list[_Row] | None:
        text = self.text(file)
        if text is None:
            return None
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header: list[str] = []
        rows: list[_Row] = []
        start = 1
        try:
            for cells in reader:
                line, start = start, reader.line_num + 1
                if not any(cell.strip() for cell in cells):
                    continue
                if not header:
                    header = [cell.strip() for cell in cells]
                    for name in sorted({name for name in header if header.count(name) > 1}):
                        self.problem(file, line, f"column '{name}' stands twice. Rename one.")
                elif len(cells) != len(header):
                    hint = "Put a text that contains the delimiter or a line break in double quotes."
                    self.problem(file, line, f"{len(cells)} cells, but the header has {len(header)}. {hint}")
                else:
                    rows.append(_Row(line, len(rows) + 1, dict(zip(header, cells, strict=True))))
        except csv.Error as error:
            self.problem(file, start, f"not valid CSV: {error}.")
        if header and not rows and not any(text.startswith(f"{file},") for text in self.problems):
            self.problem(file, None, "has a header but no rows.")
        return rows


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"There are: {', '.join(names[:12])}." if names else "The folder is empty."


def _whole(value: Any) -> Any:
    """An escape such as "\\ud83d" alone names half a character, which no tokenizer takes: U+FFFD in its place."""
    text = json.dumps(value, ensure_ascii=False)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _string(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


class _Files:
    """What the loaders share: columns to examples, patterns to documents."""

    Config: ClassVar[type[_FilesConfig]] = _FilesConfig

    def __init__(self, config: _FilesConfig) -> None:
        self.config = config

    def rows(self, reader: _Reader, file: str) -> list[_Row] | None:
        raise NotImplementedError

    def load(self, folder: str) -> LoadedData:
        config = self.config
        reader = _Reader(folder, config.encoding)
        splits: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
        pool: list[Example] = []
        seen: dict[str, str] = {}
        for name in ("data", "train", "validation", "test"):
            file = getattr(config, name)
            if not file or (rows := self.rows(reader, file)) is None:
                continue
            for row, example in self._examples(reader, file, rows, "" if name == "data" else f"{name}-"):
                place = f"{file}, line {row.line}"
                if example.id in seen:
                    reader.problem(file, row.line, f"id '{example.id}' was used before ({seen[example.id]}).")
                seen.setdefault(example.id, place)
                home = name
                if config.split_column:
                    home = self._split_of(reader, file, row, config.split_column)
                (splits.get(home, pool)).append(example)
        corpus = tuple(_corpus(reader, config.corpus, config.chunk_words))
        reader.raise_problems()
        notes = tuple(reader.notes)
        if config.data and not config.split_column:
            return LoadedData(pool=tuple(pool), corpus=corpus, notes=notes)
        parts = {name: tuple(examples) for name, examples in splits.items()}
        return LoadedData(splits=parts, corpus=corpus, notes=notes)

    def _split_of(self, reader: _Reader, file: str, row: _Row, column: str) -> str:
        value = _string(row.columns[column]).strip()
        if value.lower() not in SPLITS:
            hint = "Write train, validation or test."
            reader.problem(file, row.line, f"column '{column}' says '{value[:40]}', which is no split. {hint}")
        return SPLITS.get(value.lower(), "train")

    def _examples(
        self, reader: _Reader, file: str, rows: Sequence[_Row], prefix: str
    ) -> Iterator[tuple[_Row, Example]]:
        """Rows as examples; rows with problems are left out after noting them."""
        config = self.config
        known = list(dict.fromkeys(name for row in rows for name in row.columns))
        gold = template_fields(config.target)
        if config.references and config.target == "{answer}" and "answer" not in known:
            gold = []  # the default target, and answers that are all in another column
        needed = dict.fromkeys(gold, "target")
        for setting in ("references", "id", "group", "evidence", "split_column"):
            if column := getattr(config, setting):
                needed.setdefault(column, setting)
        missing = [column for column in needed if column not in known]
        for column in missing if rows else ():
            example = '"{column}"' if column in gold else '"column"'
            hint = f"{_nearest(column, known)} Set it with {needed[column]} = {example}."
            reader.problem(file, None, f"no column '{column}' ({needed[column]}). {hint}")
        if missing:
            return
        hidden = {*gold, config.references, config.evidence, config.split_column}
        for row in rows:
            if lacking := [column for column in needed if column not in row.columns]:
                hint = _nearest(lacking[0], [name for name in row.columns if name not in needed])
                reader.problem(file, row.line, f"has no '{lacking[0]}'. {hint}")
                continue
            references = self._references(row.columns, gold)
            if not references:
                columns = ", ".join(f"'{name}'" for name in (*gold, config.references) if name)
                reader.problem(file, row.line, f"has no answer: {columns} is empty. Fill it in, or delete the row.")
                continue
            fields = {name: _string(value) for name, value in row.columns.items() if name not in hidden}
            name = _string(row.columns.get(config.id, "")).strip() if config.id else ""
            group = _string(row.columns.get(config.group, "")).strip() if config.group else ""
            evidence = self._several(row.columns.get(config.evidence)) if config.evidence else []
            query = Query(name or f"{prefix}{row.number}", fields, group or None)
            yield row, Example(query, references, tuple(evidence))

    def _references(self, columns: Mapping[str, Any], gold: Sequence[str]) -> tuple[str, ...]:
        """The target and then the other answers, without blanks and repetitions."""
        found = []
        if gold:
            filled = {name: _string(columns[name]) for name in gold}
            if any(text.strip() for text in filled.values()):
                found.append(fill(self.config.target, filled).strip())
        if self.config.references:
            found += self._several(columns.get(self.config.references))
        return tuple(dict.fromkeys(text for text in found if text))

    def _several(self, value: Any) -> list[str]:
        separator = self.config.references_separator
        if isinstance(value, list):
            parts = [_string(part) for part in value]
        else:
            text = _string(value)
            parts = text.split(separator) if separator else [text]
        return [part.strip() for part in parts if part.strip()]


class Jsonl(_Files):
    """One JSON object a line; its names are the columns."""

    def rows(self, reader: _Reader, file: str) -> list[_Row] | None:
        return reader.jsonl(file)


class Csv(_Files):
    """A header row and one example a row."""

    class Config(_FilesConfig):
        delimiter: str = Field(",", min_length=1, max_length=1, description="What separates the cells.")

    config: Config

    def rows(self, reader: _Reader, file: str) -> list[_Row] | None:
        return reader.csv(file, self.config.delimiter)


def _corpus(reader: _Reader, patterns: str | list[str] | None, words: int) -> Iterator[Document]:
    files: dict[str, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns or []:
        found = sorted(glob.glob(pattern, root_dir=reader.folder, recursive=True))
        found = [name for name in found if (reader.folder / name).is_file()]
        if not found:
            parent = (reader.folder / pattern).parent
            there = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
            reader.problem(pattern, None, f"no file matches this corpus pattern. {_nearest(Path(pattern).name, there)}")
        files |= dict.fromkeys(found)
    seen: dict[str, str] = {}
    for file in files:
        suffix = Path(file).suffix.lower()
        if suffix == ".jsonl":
            documents = _document_rows(reader, file)
        elif suffix in (".md", ".txt"):
            documents = _passages(reader, file, words)
        else:
            reader.problem(file, None, "a corpus file must be .md, .txt or .jsonl. Narrow the pattern.")
            continue
        for line, document in documents:
            if document.id in seen:
                reader.problem(file, line, f"document id '{document.id}' was used before (in {seen[document.id]}).")
            seen.setdefault(document.id, file)
            yield document


def _document_rows(reader: _Reader, file: str) -> Iterator[tuple[int | None, Document]]:
    for row in reader.jsonl(file) or ():
        text = row.columns.get("text")
        if not isinstance(text, str) or not text.strip():
            reader.problem(file, row.line, f"a document needs a 'text'. {_nearest('text', row.columns)}")
            continue
        name = _string(row.columns.get("id", "")).strip() or f"{Path(file).as_posix()}#{row.number}"
        yield row.line, Document(name, text, _string(row.columns.get("title", "")))


def _passages(reader: _Reader, file: str, words: int) -> Iterator[tuple[int | None, Document]]:
    """Paragraphs under one heading, joined up to about `words` words; a very long paragraph is cut between words."""
    text = reader.text(file)
    number = 0
    for heading, paragraphs in _sections(text or "", Path(file).suffix.lower() == ".md"):
        title = f"{Path(file).name} — {heading}" if heading else Path(file).name
        for passage in _joined(paragraphs, words):
            number += 1
            yield None, Document(f"{Path(file).as_posix()}#{number}", passage, title)


def _sections(text: str, markdown: bool) -> Iterator[tuple[str, list[str]]]:
    heading, fenced = "", False
    lines: list[str] = []
    for line in [*text.splitlines(), None]:
        if line is not None and line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        match = re.match(r"#{1,6}\s+(.*?)\s*#*$", line) if markdown and line is not None and not fenced else None
        if line is not None and match is None:
            lines.append(line)
            continue
        paragraphs = [part.strip() for part in re.split(r"\n\s*\n", "\n".join(lines)) if part.strip()]
        if paragraphs:
            yield heading, paragraphs
        heading, lines = (match[1] if match else ""), []


def _joined(paragraphs: Sequence[str], words: int) -> Iterator[str]:
    waiting: list[str] = []
    for paragraph in [part for whole in paragraphs for part in _pieces(whole, words)]:
        if waiting and sum(len(part.split()) for part in (*waiting, paragraph)) > words:
            yield "\n\n".join(waiting)
            waiting = []
        waiting.append(paragraph)
    if waiting:
        yield "\n\n".join(waiting)


def _pieces(paragraph: str, words: int) -> Iterator[str]:
    parts = paragraph.split()
    if len(parts) <= words * 3 // 2:
        yield paragraph
        return
    count = -(-len(parts) // words)
    size = -(-len(parts) // count)  # even pieces, so that no scrap is left at the end
    for start in range(0, len(parts), size):
        yield " ".join(parts[start : start + size])
