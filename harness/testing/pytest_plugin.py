"""Fixtures for plugin authors; pytest finds them by itself where the harness is installed. Nothing heavy is imported
until a fixture is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def harness_registry() -> Any:
    """Every installed plugin."""
    from harness.plugins import load_plugins

    return load_plugins()


@pytest.fixture
def tiny_questions() -> Any:
    """A task of twelve questions with documents; answers are texts."""
    from harness.testing import tiny

    return tiny.tiny_questions()


@pytest.fixture
def tiny_labels() -> Any:
    """A task of twelve messages with two labels."""
    from harness.testing import tiny

    return tiny.tiny_labels()


@pytest.fixture
def fake_context(tmp_path: Path, harness_registry: Any) -> Callable[..., Any]:
    """`fake_context("my-strategy", task, seed=0, model=None, **settings)`: what `adapt` is given."""
    from harness.config import Use
    from harness.testing.fakes import FakeContext

    def make(strategy: str, task: Any, *, seed: int = 0, model: Any = None, **settings: Any) -> Any:
        return FakeContext(Use(strategy, strategy, settings), task, harness_registry, tmp_path, seed=seed, model=model)

    return make


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    """A promise that cannot be tested here is a skipped test, with the reason."""
    import sys

    try:
        return (yield)
    except Exception as error:
        promise = sys.modules.get("harness.testing.promise")
        if promise is not None and isinstance(error, promise.NotApplicable):
            pytest.skip(str(error))
        raise
