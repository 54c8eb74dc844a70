"""The digest of a plugin's code: which edits it sees."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.hookspecs import StrategySpec
from harness.plugins import Origin, Registered, Registry
from harness.runner.code_digest import code_digest, own_sources

PACKAGE = {
    "__init__.py": "SPECS = []\n",
    "plugin.py": "from . import near\nfrom madeup.sub.far import f\nimport json\nclass Own:\n    pass\n",
    "near.py": "def late():\n    import madeup.lazy\n",
    "lazy.py": "from madeup import SPECS, plugin\n",
    "unused.py": "x = 1\n",
    "sub/__init__.py": "",
    "sub/far.py": "from ..sub.deep import d\ndef f():\n    return d\n",
    "sub/deep.py": "d = 1\n",
}
COUNTED = {"__init__.py", "plugin.py", "near.py", "lazy.py", "sub/far.py", "sub/deep.py"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "madeup"
    for name, text in PACKAGE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "madeup"]:
        del sys.modules[name]


@pytest.fixture
def digest(package: Path) -> Callable[[], str]:
    origin = Origin("madeup", "madeup", "1.0")
    entry = Registered("strategy", StrategySpec(name="own", target="madeup.plugin:Own", summary="s"), origin)
    return lambda: code_digest(entry)


@pytest.mark.parametrize("name", sorted(PACKAGE))
def test_an_edit_counts_where_the_plugin_imports_it(package: Path, digest: Callable[[], str], name: str) -> None:
    before = digest()
    assert digest() == before
    with (package / name).open("a") as file:
        file.write("# edited\n")
    assert (digest() != before) is (name in COUNTED)


def test_modules_are_found_without_being_imported(package: Path, digest: Callable[[], str]) -> None:
    digest()
    assert "madeup.lazy" not in sys.modules and "madeup.unused" not in sys.modules
    found = own_sources("madeup.plugin", package / "plugin.py")
    assert {str(path.relative_to(package)) for path in found.values()} == COUNTED


def test_without_readable_source_the_version_stands_for_the_code(package: Path, digest: Callable[[], str]) -> None:
    digest()
    (package / "near.py").write_text("def broken(:\n")
    assert digest() == "madeup 1.0"


def test_built_in_strategies_count_their_helpers(registry: Registry) -> None:
    target = registry.get("strategy", "repair").target
    found = own_sources(target.__module__, Path(inspect.getsourcefile(target) or ""))
    assert "harness_plugins.errors.spelling" in found and "harness_plugins.strategies.lora" not in found
    digests = [code_digest(entry) for entry in registry.of_kind("strategy")]
    assert len({*digests}) == len(digests)
