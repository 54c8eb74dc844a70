"""Shared fixtures. Nothing here or in any test touches the user's cache or results."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from harness.plugins import Registry, load_plugins

ROOT = Path(__file__).parent.parent

# What plugin authors get by installing the harness; named here so that a checkout that is not installed has it too.
pytest_plugins = ["harness.testing.pytest_plugin"]

# Set before any test module imports a hub client: no test may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HARNESS_CACHE"] = str(ROOT / ".pytest_cache" / "harness")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes share the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("same examples every time", derandomize=True)
settings.load_profile("same examples every time")


@pytest.fixture(scope="session")
def registry() -> Registry:
    return load_plugins()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder as the working directory."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


@pytest.fixture
def write(folder: Path) -> Callable[[str, str], Path]:
    """Writes a text, without its common indentation, into the empty folder."""

    def write_file(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny models gain nothing from threads, and threads that wait for each other on a busy machine lose much."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
