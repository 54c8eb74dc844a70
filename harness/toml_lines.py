"""Which line of a TOML text a key stands on: tomllib parses but does not say where."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_\-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_\-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_\-]+|"[^"]*"|'[^']*'""")

Path = tuple[str | int, ...]


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _opens(text: str) -> int:
    """Net depth of brackets outside strings: a value that goes on over several lines."""
    bare = re.sub(r"\"(?:\\.|[^\"\\])*\"|'[^']*'|#.*", "", text)
    return bare.count("[") + bare.count("{") - bare.count("]") - bare.count("}")


def key_lines(text: str) -> dict[Path, int]:
    """Maps each key's path, e.g. ("arm", 1, "lora"), and each table header's path to its line, counted from 1."""
    lines: dict[Path, int] = {}
    counts: dict[tuple[str, ...], int] = {}
    table: Path = ()
    depth = 0
    quote: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if quote is not None:  # inside a multi-line string
            if quote in line:
                quote = None
            continue
        if depth > 0:
            depth += _opens(line)
            continue
        if header := _HEADER.match(line):
            names = _parts(header[2])
            if header[1] == "[[":
                index = counts.get(names, -1) + 1
                counts[names] = index
                table = (*_indexed(names[:-1], counts), names[-1], index)
            else:
                table = _indexed(names, counts)
            lines.setdefault(table, number)
            continue
        if key := _KEY.match(line):
            path = (*table, *_parts(key[1]))
            for end in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:end], number)
            value = line[key.end() :]
            for mark in ('"""', "'''"):
                if value.count(mark) % 2 == 1:
                    quote = mark
            if quote is None:
                depth = max(0, _opens(value))
    return lines


def _indexed(names: tuple[str, ...], counts: dict[tuple[str, ...], int]) -> Path:
    """Inserts the current index after every name that is an array of tables."""
    path: list[str | int] = []
    for end in range(1, len(names) + 1):
        path.append(names[end - 1])
        if names[:end] in counts:
            path.append(counts[names[:end]])
    return tuple(path)


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of a key, or of the nearest enclosing key or table."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


def show_path(path: Path) -> str:
    """("arm", 1, "lora") as people write it: arm[2].lora."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text
