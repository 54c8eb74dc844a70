"""lm-eval's task files, found and read without importing lm-eval: its own index takes seconds and loads torch."""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.exceptions import DataError
from harness.models.source import cache_folder

_TOP_LEVEL = re.compile(rb"""^["']?(?:task|group|tag|class|include)["']?[ \t]*:""", re.M)
_GROUP_KEYS = {"group", "group_alias", "task", "aggregate_metric_list", "metadata", "tag", "include"}


class Function(str):
    """A `!function module.name` of a task file: the name, and where it is looked up."""

    folder: Path

    def __new__(cls, name: str, folder: Path) -> Function:
        made = super().__new__(cls, name)
        made.folder = folder
        return made


@dataclass(frozen=True)
class Leaf:
    """One task to run. `groups`: the groups and tags through which it was reached, outermost first; `overrides`: what
    those groups change in its settings."""

    name: str
    path: Path
    groups: tuple[str, ...] = ()
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """The task file with its includes and overrides; functions stay names."""
        return {**read_task_file(self.path), **self.overrides}


@dataclass(frozen=True)
class _Entry:
    kind: str  # "task", "group" or "tag"
    path: str = ""
    members: tuple[str, ...] = ()


def lm_eval_version() -> str:
    try:
        return importlib.metadata.version("lm_eval")
    except importlib.metadata.PackageNotFoundError:
        raise DataError("benchmarks need the package lm-eval.", hint="pip install lm-eval") from None


def read_task_file(path: Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """One YAML file with its includes merged, later keys winning, as lm-eval merges them."""
    path = path.resolve()
    if path in _seen:
        raise DataError(f"benchmark task file {path.name} includes itself.")
    settings = _parse(path.read_bytes(), path)
    includes = settings.pop("include", None) or []
    merged: dict[str, Any] = {}
    for include in includes if isinstance(includes, list) else [includes]:
        merged |= read_task_file(path.parent / include, (*_seen, path))
    return merged | settings


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):
        pass

    Loader.add_constructor("!function", lambda loader, node: Function(loader.construct_scalar(node), path.parent))
    settings = yaml.load(text, Loader=Loader)
    if not isinstance(settings, dict):
        raise DataError(f"{path} is not a benchmark task file: it holds no table.")
    return settings


class Catalogue:
    """Names of lm-eval's tasks, groups and tags. For groups and misspelt names all files are read (a second or two),
    once per version of lm-eval and then kept in the cache; until then a task is found by the name of its file."""

    def __init__(self) -> None:
        self.version = lm_eval_version()
        spec = importlib.util.find_spec("lm_eval")
        if spec is None or not spec.submodule_search_locations:
            raise DataError("benchmarks need the package lm-eval.", hint="pip install lm-eval")
        self.root = Path(spec.submodule_search_locations[0]) / "tasks"
        mark = hashlib.sha256(f"{self.version}\0{self.root}".encode()).hexdigest()[:16]
        self._kept = cache_folder() / "benchmarks" / f"lm-eval-{mark}.json"
        self._files: dict[str, list[Path]] | None = None
        self._entries: dict[str, _Entry] | None = None

    def expand(self, name: str, folder: str) -> list[Leaf]:
        """The tasks behind a name: itself, the members of a group or tag, or the task of a YAML file of the user's."""
        if name.endswith((".yaml", ".yml")):
            path = Path(folder, name)
            if not path.is_file():
                raise DataError(f"benchmark task file '{name}' does not exist.", hint=f"Looked for {path}.")
            settings = read_task_file(path)
            if not isinstance(settings.get("task"), str):
                raise DataError(f"benchmark task file '{name}' names no task.", hint="It needs  task: <name>.")
            return [Leaf(settings["task"], path.resolve())]
        if self._entries is None and not self._kept.is_file() and (found := self._by_file_name(name)) is not None:
            return [Leaf(name, found)]
        if name not in self.entries:
            close = difflib.get_close_matches(name, self.entries, n=3, cutoff=0.6)
            hint = " or ".join(f"'{match}'" for match in close)
            hint = f"Did you mean {hint}?" if close else "`lm-eval ls tasks` prints all names."
            raise DataError(f"lm-eval {self.version} has no task '{name}'.", hint=hint)
        leaves = list(self._members(name, (), {}))
        return list({leaf.name: leaf for leaf in leaves}.values())

    # ------------------------------------------------------------------------------------------------ members

    def _members(self, name: str, groups: tuple[str, ...], overrides: Mapping[str, Any]) -> Iterator[Leaf]:
        entry = self.entries.get(name)
        if entry is None or name in groups:
            raise DataError(
                f"lm-eval's group '{groups[0] if groups else name}' holds '{name}', which is no task of its own.",
                hint="Name the tasks themselves.",
            )
        if entry.kind == "task":
            yield Leaf(name, self.root / entry.path, groups, dict(overrides))
        elif entry.kind == "tag":
            for member in entry.members:
                yield from self._members(member, (*groups, name), overrides)
        else:
            yield from self._group(read_task_file(self.root / entry.path), (*groups, name), overrides)

    def _group(self, settings: dict[str, Any], groups: tuple[str, ...], given: Mapping[str, Any]) -> Iterator[Leaf]:
        """Members of a group. What the group sets besides its own keys goes to its tasks, callers' values first."""
        overrides = {key: value for key, value in settings.items() if key not in _GROUP_KEYS} | dict(given)
        members = settings.get("task") or []
        for member in members if isinstance(members, list) else [members]:
            if isinstance(member, str):
                yield from self._members(member, groups, overrides)
            elif "group" in member and member["group"] not in self.entries:
                yield from self._group(member, (*groups, str(member["group"])), overrides)
            else:
                own = {key: value for key, value in member.items() if key not in ("group", "task")}
                yield from self._members(member.get("group") or member["task"], groups, overrides | own)

    # -------------------------------------------------------------------------------------------------- finding

    @property
    def files(self) -> dict[str, list[Path]]:
        """All task files by name without suffix, in the order in which lm-eval reads them."""
        if self._files is None:
            found: list[str] = []
            waiting = [str(self.root)]
            while waiting:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir():
                            if entry.name not in ("__pycache__", ".ipynb_checkpoints"):
                                waiting.append(entry.path)
                        elif entry.name.endswith(".yaml"):
                            found.append(entry.path)
            self._files = {}
            for path in sorted(found):
                self._files.setdefault(Path(path).stem, []).append(Path(path))
        return self._files

    def _by_file_name(self, name: str) -> Path | None:
        for path in self.files.get(name, ()):
            settings = read_task_file(path)
            if settings.get("task") == name and "group" not in settings:
                return path
        return None

    @property
    def entries(self) -> dict[str, _Entry]:
        if self._entries is None:
            try:
                known = json.loads(self._kept.read_text(encoding="utf-8"))
                self._entries = {name: _Entry(kind, path, tuple(members)) for name, kind, path, members in known}
            except (OSError, ValueError, TypeError):
                self._entries = self._read_all()
                rows = [[name, entry.kind, entry.path, entry.members] for name, entry in self._entries.items()]
                try:
                    self._kept.parent.mkdir(parents=True, exist_ok=True)
                    part = self._kept.with_suffix(f".{os.getpid()}.part")
                    part.write_text(json.dumps(rows), encoding="utf-8")
                    part.replace(self._kept)
                except OSError:  # a read-only cache costs time, nothing else
                    pass
        return self._entries

    def _read_all(self) -> dict[str, _Entry]:
        """Names in all files, first come first served as in lm-eval. Only the top-level keys that name something are
        parsed; the files are 14,000."""
        entries: dict[str, _Entry] = {}
        tags: dict[str, set[str]] = {}
        for path in sorted((path for paths in self.files.values() for path in paths), key=Path.as_posix):
            try:
                settings = _names(path)
            except Exception:  # lm-eval leaves out files that it cannot read, too
                continue
            where = str(path.relative_to(self.root))
            kind = "task" if "class" in settings else "group" if "group" in settings else "task"
            name = settings.get(kind)
            if not isinstance(name, str) or name in entries:
                continue
            entries[name] = _Entry(kind, where)
            found = settings.get("tag") if kind == "task" else None
            for tag in found if isinstance(found, list) else [found] if found else []:
                tags.setdefault(str(tag), set()).add(name)
        for tag, members in tags.items():
            entries.setdefault(tag, _Entry("tag", "", tuple(sorted(members))))
        return entries


def _names(path: Path, depth: int = 0) -> dict[str, Any]:
    """The keys of a task file that name it and its tags, includes merged."""
    text = path.read_bytes()
    blocks = []
    for match in _TOP_LEVEL.finditer(text):
        end = match.end()
        while True:  # a value goes on over indented and list lines
            stop = text.find(b"\n", end)
            end = len(text) if stop < 0 else stop + 1
            if end >= len(text) or text[end : end + 1] not in b" \t-#\r\n":
                break
        blocks.append(text[match.start() : end])
    settings = _parse(b"\n".join(blocks) or b"{}", path)
    includes = settings.pop("include", None) or []
    if ("task" in settings and "tag" in settings) or "group" in settings or depth > 8:
        return settings
    merged: dict[str, Any] = {}
    for include in includes if isinstance(includes, list) else [includes]:
        merged |= _names(path.parent / include, depth + 1)
    return merged | settings
