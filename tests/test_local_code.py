"""Python files beside an experiment file: where they may lie, that they run once, what their mistakes read like."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from harness.exceptions import PluginError
from harness.local_code import LocalCode, find_local, load_local, loaded_attribute


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_loads_once_and_is_found_by_its_digest(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "runs = []\nruns.append(1)\ndef judge(x):\n    return x + 1\n")
    announced: list[str] = []
    code = LocalCode(tmp_path, announce=lambda file: announced.append(file.name))
    file, again = code.load("mine.py"), code.load("mine.py")
    assert file == again and [found.name for found in code.files] == ["mine.py"]
    assert announced == ["mine.py"]
    assert loaded_attribute("mine.py:judge", file.sha256)(1) == 2
    assert importlib.import_module(file.module).runs == [1]


def test_a_changed_file_is_another_module(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py", "value = 1\n")
    before = LocalCode(tmp_path).load("mine.py")
    path.write_text("value = 2\n", encoding="utf-8")
    after = LocalCode(tmp_path).load("mine.py")
    assert before.module != after.module
    values = [importlib.import_module(file.module).value for file in (before, after)]
    assert values == [1, 2]


def test_a_file_below_the_folder_is_fine(tmp_path: Path) -> None:
    write(tmp_path, "evals/mine.py", "def judge():\n    return 7\n")
    file = LocalCode(tmp_path).load("evals/mine.py")
    assert loaded_attribute("evals/mine.py:judge", file.sha256)() == 7


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../outside.py", "outside the experiment file's folder"),
        ("sub/../../outside.py", "outside the experiment file's folder"),
        ("mine.txt", "no Python file"),
        ("", "no Python file"),
        ("absent.py", "not there"),
        ("folder.py", "not there"),
        ("link.py", "is a link to"),
        ("linked/outside.py", "is a link to"),
    ],
)
def test_only_files_of_the_folder(tmp_path: Path, name: str, says: str) -> None:
    outside = write(tmp_path, "elsewhere/outside.py", "raise SystemExit('ran')\n")
    home = tmp_path / "home"
    (home / "folder.py").mkdir(parents=True)
    (home / "link.py").symlink_to(outside)
    (home / "linked").symlink_to(outside.parent)
    with pytest.raises(PluginError, match=says):
        LocalCode(home).load(name)


def test_absolute_paths_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py", "")
    with pytest.raises(PluginError, match="outside"):
        LocalCode(tmp_path).load(str(path))


def test_refused_without_being_read(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "raise SystemExit('ran')\n")
    code = LocalCode(tmp_path, allowed=False)
    with pytest.raises(PluginError, match="--no-local-code") as caught:
        code.load("mine.py")
    assert "leave --no-local-code out" in caught.value.hint and code.files == []


def test_finding_runs_nothing(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "raise SystemExit('ran')\n")
    assert len(find_local(tmp_path, "mine.py").sha256) == 64


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nx = = 2\n", "line 2 fails to load: SyntaxError"),
        ("x = 1\n\nimport no_such_module_anywhere\n", "line 3 fails to load: ModuleNotFoundError"),
        ("raise SystemExit('bye')\n", "line 1 fails to load: SystemExit: bye"),
        ("x = '\x00'\n", "fails to load"),
    ],
)
def test_a_file_that_fails_says_where_and_may_be_mended(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, "mine.py", text)
    with pytest.raises(PluginError, match=says):
        LocalCode(tmp_path).load("mine.py")
    with pytest.raises(PluginError, match=says):
        load_local(find_local(tmp_path, "mine.py"))


def test_unknown_names_are_explained(tmp_path: Path) -> None:
    write(tmp_path, "mine.py", "def judge():\n    pass\n")
    file = LocalCode(tmp_path).load("mine.py")
    with pytest.raises(PluginError, match="has no 'jugde'") as caught:
        loaded_attribute("mine.py:jugde", file.sha256)
    assert "judge" in caught.value.hint
    with pytest.raises(PluginError, match="not loaded"):
        loaded_attribute("mine.py:judge", "0" * 64)
