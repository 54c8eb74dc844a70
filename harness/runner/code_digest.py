"""Digest of a plugin's code: of the module that defines it and of those of its own package that this one imports.

Helpers count, because who edits one expects other results. Modules are read here, never imported.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.plugins import Registered


@dataclass(frozen=True)
class _Source:
    """A module's text as a digest, and what it imports: for each the names it may have, the first that is a module
    counts."""

    digest: str
    imports: tuple[tuple[str, ...], ...]


def code_digest(entry: Registered) -> str:
    """Edited code has another digest, the same code under another name has not. Where there is no source, distribution
    and version stand for it."""
    try:
        path = Path(inspect.getsourcefile(entry.target) or "")
        sources = own_sources(entry.target.__module__, path)
    except (OSError, TypeError, SyntaxError, ValueError):
        return f"{entry.origin}"
    digests = sorted({_read(name, file).digest for name, file in sources.items()})
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def own_sources(name: str, path: Path) -> dict[str, Path]:
    """The module of that name and file, and those of the same top-level package that it imports, directly or not."""
    top = name.partition(".")[0]
    roots = [Path(root) for root in getattr(sys.modules.get(top), "__path__", ())]
    found, unread = {name: path}, [name]
    while unread:
        module = unread.pop()
        for names in _read(module, found[module]).imports:
            own = (imported for imported in names if imported.partition(".")[0] == top)
            known = next(((imported, file) for imported in own if (file := _file(imported, roots))), None)
            if known and known[0] not in found:
                found.update([known])
                unread.append(known[0])
    return found


def _file(name: str, roots: list[Path]) -> Path | None:
    """The file of a module below a package's folders; None for what is no module."""
    inside = name.split(".")[1:]
    for root in roots:
        place = root.joinpath(*inside)
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
    return None


def _read(name: str, path: Path) -> _Source:
    stat = path.stat()
    return _parsed(name, path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=1024)
def _parsed(name: str, path: Path, size: int, mtime_ns: int) -> _Source:
    """`size` and `mtime_ns` make an edited file another one."""
    source = path.read_bytes()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return _Source(hashlib.sha256(source).hexdigest(), tuple(dict.fromkeys(_imports(ast.parse(source), package))))


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, ...]]:
    """Of `from a import b` "a.b", or else "a"."""
    parts = package.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name,) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", base) for alias in node.names)
