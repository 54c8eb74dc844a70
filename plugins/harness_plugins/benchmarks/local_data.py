"""A benchmark's items from local files: which columns a task needs, which a file has, and its rows for lm-eval."""

from __future__ import annotations

import ast
import csv
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.exceptions import DataError
from harness_plugins.benchmarks.catalogue import Function

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_TEMPLATES = ("doc_to_text", "doc_to_target", "doc_to_choice")
_COLUMN = re.compile(r"[a-z][a-z0-9_]+")


def load(files: Mapping[str, str], **_: Any) -> Any:
    """What lm-eval calls for a task with local files (`custom_dataset`): a DatasetDict in memory. Nothing is written
    to the caches of `datasets`."""
    import datasets

    made = {}
    for split, path in files.items():
        found = rows(Path(path))
        try:
            made[split] = datasets.Dataset.from_list(found)
        except Exception as error:  # pyarrow's own errors derive from several bases
            raise DataError(f"{path}: the rows do not have the same columns and types ({error}).") from error
    return datasets.DatasetDict(made)


def rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a file, by its suffix; DataError with the line for a broken one."""
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            return list(pyarrow.parquet.read_table(path).to_pylist())
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix in (".csv", ".tsv"):
                return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
            if path.suffix == ".json":
                return [_table(row, path, number) for number, row in enumerate(json.load(file), 1)]
            return [_table(json.loads(line), path, n) for n, line in enumerate(file, 1) if line.strip()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _table(row: Any, path: Path, number: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{path}, row {number}: expected a table of columns, got {type(row).__name__}.")
    return row


def columns(path: Path) -> set[str]:
    """Columns of a file's first row; DataError when the file is missing, empty or of no known kind."""
    if not path.is_file():
        raise DataError(f"{path} does not exist.")
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path} is of no known kind.", hint=f"Use one of {', '.join(SUFFIXES)}.")
    try:
        if path.suffix == ".parquet":
            import pyarrow.parquet

            return set(pyarrow.parquet.read_schema(path).names)
        if path.suffix == ".json":
            found = rows(path)
            first: Any = found[0] if found else None
        else:
            with path.open(encoding="utf-8", newline="") as file:
                if path.suffix in (".csv", ".tsv"):
                    first = dict.fromkeys(next(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","), []))
                else:
                    line = next((line for line in file if line.strip()), "")
                    first = json.loads(line) if line else None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not first:
        raise DataError(f"{path} is empty.")
    return set(_table(first, path, 1))


def needed_columns(settings: Mapping[str, Any]) -> set[str]:
    """Columns that a task's file certainly reads: those of its templates, or, where a function prepares the items
    first, those that the function takes from an item. What cannot be told from the text is left out."""
    prepare = settings.get("process_docs")
    if prepare is not None:
        return _read_by(prepare) if isinstance(prepare, Function) else set()
    found: set[str] = set()
    for name in _TEMPLATES:
        value = settings.get(name)
        if isinstance(value, Function):
            found |= _read_by(value)
        elif isinstance(value, str):
            found |= _in_template(value)
    return found


def _in_template(text: str) -> set[str]:
    if _COLUMN.fullmatch(text):  # a column's bare name
        return {text}
    import jinja2
    import jinja2.meta
    from jinja2 import nodes

    environment = jinja2.Environment()
    try:
        tree = environment.parse(text)
        found = set(jinja2.meta.find_undeclared_variables(tree)) - set(environment.globals)
    except jinja2.TemplateError:  # such as filters of lm-eval's own: nothing certain can be said
        return set()
    for node in tree.find_all((nodes.Test, nodes.Filter)):
        if node.name in ("defined", "undefined", "default", "d"):  # the template can do without these
            found -= {name.name for name in node.find_all(nodes.Name)}
    return found


def _read_by(function: Function) -> set[str]:
    """Columns that a function of a task's Python file reads as doc["name"], found in its text."""
    module, _, name = function.rpartition(".")
    path = function.folder / (module.replace(".", "/") + ".py")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return set()
    found: set[str] = set()
    uncertain: set[str] = set()
    for definition in ast.walk(tree):
        if not isinstance(definition, ast.FunctionDef) or definition.name != name:
            continue
        for node in ast.walk(definition):
            if isinstance(node, ast.Compare):  # if "name" in doc: the column may be missing
                uncertain |= {str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant)}
            if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
                continue
            if isinstance(node.value, ast.Name) and node.value.id in ("doc", "example", "item", "row"):
                (found if isinstance(node.ctx, ast.Load) else uncertain).add(str(node.slice.value))
    return {column for column in found if not column.isdigit()} - uncertain


def in_hub_cache(settings: Mapping[str, Any]) -> bool:
    """Whether `datasets` has a task's data set in its cache on this machine, by the rule with which it looks there."""
    name = str(settings.get("dataset_path", ""))
    if Path(name).exists():
        return True
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    cache = Path(os.environ.get("HF_DATASETS_CACHE") or home / "datasets").expanduser()
    *namespace, last = name.split("/")
    snake = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", last)).lower()
    folder = cache / "___".join([*namespace, snake])
    return any(folder.glob(f"{settings.get('dataset_name') or '*'}*/*/*/dataset_info.json"))
