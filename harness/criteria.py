"""Own criteria of an experiment file: `[[eval]]`, `[[category]]` and the settings of error classifiers, `[errors]`.

Each becomes a use of a plugin, like any metric or classifier, so that versions, storage and reports need nothing more.
Code of the user's own is pinned by its digest here: what judged a run is part of the run's configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from harness import taxonomy
from harness.exceptions import PluginError, nearest
from harness.local_code import LocalCode
from harness.plugins import Registered, Registry
from harness.toml_lines import Path as KeyPath

#: `kind` of an [[eval]] → the metric that does it.
EVAL_KINDS = {"regex": "regex", "contains": "contains_text", "json_schema": "json_schema", "python": "python"}


class EvalTable(BaseModel):
    """Keys that are not listed here are the settings of that kind of criterion."""

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: Literal["regex", "contains", "json_schema", "python"] = Field(description="What judges the answer.")
    name: str | None = Field(None, min_length=1, description="Name in reports; default: the kind.")


class CategoryTable(BaseModel):
    """One error category of the user's own; it is found by `pattern` or by `python`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="Name of the category in reports.")
    pattern: str | None = Field(None, description="Regular expression that is searched in the answer.")
    python: str | None = Field(None, description='"my_file.py:function", in this file\'s folder.')
    sha256: str | None = Field(None, description="Pins the Python file: another digest is refused.")
    ignore_case: bool = Field(False, description="With pattern: case does not matter.")
    severity: int = Field(2, ge=0, le=3, description="0 none, 1 wrong form, 2 wrong answer, 3 no usable answer.")
    blame: Literal["model", "retrieval", "data", "harness"] = Field("model", description="Where the remedy lies.")
    meaning: str = Field("", description="What it means, for reports.")
    remedy: str = Field("", description="What to try next, for reports.")


class Reader(Protocol):
    """What is needed of the reader of experiment files."""

    data: dict[str, Any]
    registry: Registry
    code: LocalCode

    def problem(self, path: KeyPath, message: str, hint: str = "") -> None: ...

    def validate(self, model: type[BaseModel], data: Any, path: KeyPath) -> Any: ...

    def plugin_settings(self, kind: str, use: str, settings: Any, path: KeyPath) -> dict[str, Any] | None: ...


Found = tuple[str, str, dict[str, Any]]  # plugin, id, settings


def _tables(reader: Reader, key: str) -> Iterator[tuple[KeyPath, Any]]:
    tables = reader.data.get(key, [])
    if not isinstance(tables, list):
        reader.problem((key,), "must be a list of tables.", f"Write  [[{key}]]  with double brackets.")
        return
    yield from (((key, index), table) for index, table in enumerate(tables))


def read_evals(reader: Reader) -> list[Found]:
    """The metrics that [[eval]] tables ask for; problems are noted with the reader."""
    found = []
    for path, data in _tables(reader, "eval"):
        table = reader.validate(EvalTable, data, path)
        if table is None:
            continue
        settings = dict(table.model_extra or {})
        if table.kind == "python" and not _pin(reader, settings, path):
            continue
        filled = reader.plugin_settings("metric", EVAL_KINDS[table.kind], settings, path)
        if filled is not None and _works(reader, "metric", EVAL_KINDS[table.kind], filled, path):
            found.append((EVAL_KINDS[table.kind], table.name or table.kind, filled))
    return found


def read_errors(reader: Reader) -> list[Found]:
    """The classifiers of a run: all that are installed, with the settings of [errors], and one a [[category]]."""
    table = reader.data.get("errors", {})
    if not isinstance(table, dict):
        reader.problem(("errors",), "must be a table.", "Write  [errors.surface]  verbose_ratio = 4.0")
        return []
    standing = [entry for entry in reader.registry.of_kind("error classifier") if getattr(entry.spec, "default", True)]
    found: list[Found] = []
    for entry in standing:
        settings = table.get(entry.name, {})
        if settings is False:
            continue
        use = _unambiguous(entry, standing)
        if not settings and not _importable(entry):
            found.append((use, use, {}))  # comes unasked: the run names it and goes on without it
            continue
        filled = reader.plugin_settings("error classifier", use, settings, ("errors", entry.name))
        if filled is not None:
            found.append((use, use, filled))
    names = [entry.name for entry in standing]
    for key in table:
        if key not in names:
            reader.problem(("errors", key), "no error classifier of that name.", nearest(key, names))
    return found + _categories(reader)


def _importable(entry: Registered) -> bool:
    try:
        entry.config_class()
    except Exception:
        return False
    return True


def _unambiguous(entry: Registered, others: Sequence[Registered]) -> str:
    alone = sum(other.name == entry.name for other in others) == 1
    return entry.name if alone else f"{entry.origin.distribution}:{entry.name}"


def _categories(reader: Reader) -> list[Found]:
    found: list[Found] = []
    for path, data in _tables(reader, "category"):
        table: CategoryTable | None = reader.validate(CategoryTable, data, path)
        if table is None:
            continue
        if table.name in taxonomy.ORDER:
            reader.problem((*path, "name"), f"'{table.name}' is a built-in category.", "Choose another name.")
        elif table.name in [name for _, name, _ in found]:
            reader.problem((*path, "name"), f"category '{table.name}' stands twice.", "Rename one.")
        elif (table.pattern is None) == (table.python is None):
            reader.problem(path, "is found by pattern or by python: give one of them.", 'pattern = "(?i)perhaps"')
        else:
            use = "pattern" if table.python is None else "python"
            settings = table.model_dump(exclude_none=True)
            if use == "python":
                settings.pop("ignore_case")
                if not _pin(reader, settings, path):
                    continue
            filled = reader.plugin_settings("error classifier", use, settings, path)
            if filled is not None and _works(reader, "error classifier", use, filled, path):
                found.append((use, table.name, filled))
    return found


def _pin(reader: Reader, settings: dict[str, Any], path: KeyPath) -> bool:
    """Loads the file that `python` names and notes its digest in the settings; False after noting a problem."""
    target = settings.get("python")
    name, _, function = target.partition(":") if isinstance(target, str) else ("", "", "")
    if not name or not function:
        reader.problem((*path, "python"), "names no function.", 'Write  python = "my_file.py:function"')
        return False
    try:
        file = reader.code.load(name)
    except PluginError as error:
        reader.problem((*path, "python"), error.message, error.hint)
        return False
    pinned = settings.get("sha256")
    if pinned is not None and pinned != file.sha256:
        reader.problem((*path, "sha256"), f"'{name}' is another file: its sha256 is {file.sha256}.", "Read it first.")
        return False
    settings["sha256"] = file.sha256
    return True


def reload_own(folder: str, settings: Mapping[str, Any]) -> None:
    """Loads the pinned file of a criterion in another process; does nothing for criteria without one."""
    if "python" in settings and "sha256" in settings:
        file = LocalCode(Path(folder)).load(str(settings["python"]).partition(":")[0])
        if file.sha256 != settings["sha256"]:
            raise PluginError(f"local code '{file.name}' has changed since the run began.", hint="Run it again.")


def _works(reader: Reader, kind: str, use: str, settings: dict[str, Any], path: KeyPath) -> bool:
    """Lets a plugin that can check itself do so: a function with the wrong signature is found before anything runs."""
    plugin = reader.registry.get(kind, use).create(settings)
    try:
        if hasattr(plugin, "check"):
            plugin.check()
    except PluginError as error:
        reader.problem((*path, "python"), error.message, error.hint)
        return False
    return True


def own_categories(resolved: dict[str, Any]) -> dict[str, taxonomy.Category]:
    """The user's own categories by name, from a stored configuration."""
    found = {}
    for use in resolved.get("errors", []):
        settings = use.get("settings", {})
        if use.get("use") in ("pattern", "python") and "name" in settings:
            found[settings["name"]] = taxonomy.Category(
                *(settings[key] for key in ("name", "blame", "severity", "meaning", "remedy"))
            )
    return found
