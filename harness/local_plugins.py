"""`plugins = ["./my_strategy.py"]` in an experiment file: plugins without a package.

A local plugin is a module like any other, found by `harness.local_code` instead of an entry point: only in the folder
of the file that names it, and known by its digest, which takes the place of a version. Its specs name their classes by
`f"{__name__}:MyClass"`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.exceptions import ConfigError, PluginError, Problem
from harness.local_code import LocalCode, LocalFile, load_local
from harness.plugins import LOCAL, Origin, Registry
from harness.toml_lines import key_lines, line_of


def add_local_plugins(registry: Registry, code: LocalCode, path: Path, text: str, data: Mapping[str, Any]) -> None:
    """Loads the files that an experiment file names; raises one ConfigError with all that is wrong with them."""
    named = data.get("plugins", [])
    problems = []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        problems.append(("must be a list of file names.", 'Write  plugins = ["./my_strategy.py"]'))
        named = []
    for name in dict.fromkeys(named):
        try:
            _add(registry, code.load(name))
        except PluginError as error:
            problems.append((error.message, error.hint))
    if problems:
        line = line_of(key_lines(text), ("plugins",))
        found = [Problem(message, key="plugins", line=line, hint=hint) for message, hint in problems]
        raise ConfigError(found, source=str(path))


def reload_local_plugins(registry: Registry, folder: str, known: Mapping[str, str]) -> None:
    """In a worker: the files again, by name and digest; PluginError when one has changed since the run began."""
    code = LocalCode(Path(folder))
    for name, sha256 in known.items():
        file = code.load(name)
        if file.sha256 != sha256:
            raise PluginError(
                f"local plugin '{name}' has changed since the run began.", hint="Run the same command again."
            )
        _add(registry, file)


def local_digests(files: Sequence[LocalFile]) -> dict[str, str]:
    """File name -> SHA-256, as a run records them."""
    return {file.name: file.sha256 for file in files}


def _add(registry: Registry, file: LocalFile) -> None:
    registry.add(load_local(file), Origin(file.name, LOCAL, file.sha256[:12]))
    origin = registry.origins[-1]
    if not origin.ok:
        raise PluginError(f"local plugin '{file.name}': {origin.state}")
    if not any(entry.origin == origin for entry in registry.entries):
        raise PluginError(f"local plugin '{file.name}' provides nothing.", hint="It needs a hook: see docs/plugins.")
