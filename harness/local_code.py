"""Python files beside an experiment file: found, named, loaded once, and known ever after by their digest.

The only code that an experiment file can bring along. A file is loaded when the experiment file names it, lies in the
experiment file's own folder (or below) and is no link to elsewhere; the bytes that run are the bytes that were hashed.
Afterwards a module is found by its digest, never by a path, so that stored results say exactly which code judged them,
and reading them again runs nothing.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from harness.exceptions import PluginError

#: Modules are registered in `sys.modules` under this prefix, the file's stem and its digest.
PREFIX = "harness_local_"


@dataclass(frozen=True)
class LocalFile:
    """One Python file as it was found: `name` as written, `source` as hashed by `sha256` (hexadecimal)."""

    name: str
    path: Path
    sha256: str
    source: bytes = field(repr=False)

    @property
    def module(self) -> str:
        """The name under which `importlib.import_module` finds it once it is loaded."""
        stem = "".join(character if character.isalnum() else "_" for character in PurePosixPath(self.name).stem)
        return f"{PREFIX}{stem}_{self.sha256[:16]}"


@dataclass
class LocalCode:
    """What may be loaded beside one experiment file. `announce` is told each file before it runs; `files` has what
    was found, in the order of first mention. With `allowed` off, whatever is named is refused."""

    folder: Path
    allowed: bool = True
    announce: Callable[[LocalFile], None] = lambda file: None
    files: list[LocalFile] = field(default_factory=list)

    def load(self, name: str) -> LocalFile:
        """Finds and runs a file; raises PluginError with what is wrong with its name, its place or its code."""
        if not self.allowed:
            raise PluginError(
                f"local code '{name}' is refused: --no-local-code is given.",
                hint="Read the file, then leave --no-local-code out to let it run.",
            )
        file = find_local(self.folder, name)
        if file.sha256 not in {known.sha256 for known in self.files}:
            self.files.append(file)
            if file.module not in sys.modules:
                self.announce(file)
        load_local(file)
        return file


def find_local(folder: str | Path, name: str) -> LocalFile:
    """The file of that name in `folder` or below it; runs nothing. Raises PluginError."""
    written = Path(name)
    if written.suffix != ".py":
        raise PluginError(f"local code '{name}' is no Python file.", hint='Write it as  "my_file.py".')
    if written.is_absolute() or ".." in written.parts:
        raise PluginError(
            f"local code '{name}' lies outside the experiment file's folder.",
            hint="Only files in that folder (or below it) are loaded: copy it there.",
        )
    home = Path(folder).resolve()
    path = home / written
    if not path.is_file():
        beside = ", ".join(sorted(found.name for found in path.parent.glob("*.py"))) or "none"
        raise PluginError(f"local code '{name}' is not there.", hint=f"Python files in that folder: {beside}.")
    if path.resolve() != path:
        raise PluginError(f"local code '{name}' is a link to {path.resolve()}.", hint="Copy the file itself there.")
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"local code '{name}' cannot be read: {error.strerror}.") from error
    return LocalFile(name, path, hashlib.sha256(source).hexdigest(), source)


def load_local(file: LocalFile) -> ModuleType:
    """The module of a file, run once per process; raises PluginError with the line that failed."""
    if file.module in sys.modules:
        return sys.modules[file.module]
    module = ModuleType(file.module)
    module.__file__ = str(file.path)
    sys.modules[file.module] = module  # before it runs: dataclasses and pickle look their module up
    try:
        exec(compile(file.source, str(file.path), "exec"), module.__dict__)
    except (KeyboardInterrupt, MemoryError):
        del sys.modules[file.module]
        raise
    except BaseException as error:  # SystemExit too: a script that calls exit() must not end us without a word
        del sys.modules[file.module]
        raise PluginError(
            f"local code '{file.name}'{_line(error, file)} fails to load: {type(error).__name__}: {error}",
            hint="It must be importable by itself; files beside it are not on the import path.",
        ) from error
    return module


def loaded_attribute(target: str, sha256: str) -> Any:
    """What "my_file.py:name" is in the file with that digest, which this process must have loaded before."""
    name, _, attribute = target.partition(":")
    found = sys.modules.get(LocalFile(name, Path(name), sha256, b"").module)
    if found is None:
        raise PluginError(
            f"local code '{name}' (sha256 {sha256[:12]}) is not loaded.",
            hint="It runs only with the experiment file that names it.",
        )
    if not attribute or not hasattr(found, attribute):
        public = [known for known in vars(found) if not known.startswith("_") and callable(getattr(found, known))]
        raise PluginError(
            f"local code '{name}' has no '{attribute}'.", hint=f'Write "{name}:name"; it has {", ".join(public)}.'
        )
    return getattr(found, attribute)


def _line(error: BaseException, file: LocalFile) -> str:
    """ ", line 3": where in the file itself the error arose."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file.path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line is not None else ""
