"""The plugin tutorial as a new user follows it: every file written, every command run, in an empty folder."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from test_end_to_end import harness, rows
from third_party_packages import install

from harness.cli import cli
from harness.exceptions import PluginError
from harness.experiment_schema import experiment_schema
from harness.plugins import Registry
from harness.scaffold import KINDS as SCAFFOLDS
from harness.scaffold import write_package

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs" / "plugins"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", re.M | re.S)


def steps(page: str) -> Iterator[tuple[str, str | None, str]]:
    """(language, file, text) of every block, in order."""
    for match in BLOCK.finditer((PAGES / page).read_text(encoding="utf-8")):
        yield match[1], match[2], match[3]


class Reader:
    """Follows pages in one folder: writes the files, runs the commands with this Python."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder / "work", folder / "site"
        self.folder.mkdir()
        self.env = {**os.environ, "HARNESS_CACHE": os.environ["HARNESS_CACHE"]}
        self.outputs: dict[str, str] = {}

    def follow(self, page: str) -> None:
        for language, file, text in steps(page):
            if file is not None:
                (self.folder / file).write_text(text, encoding="utf-8")
            elif language == "console":
                for line in text.splitlines():
                    assert line.startswith("$ "), line
                    self.run(line[2:])
            else:
                assert language == "toml", f"{page}: a block of {language} that nothing runs"
                tomllib.loads(text)

    def run(self, line: str) -> None:
        words = shlex.split(line)
        if words == ["pip", "install", "."]:  # into a folder of its own, so that this environment stays as it is
            install(self.site, self.folder)
            self.env["PYTHONPATH"] = os.pathsep.join([str(self.site), self.env.get("PYTHONPATH", "")])
            experiment = self.folder / "experiment.toml"
            text = experiment.read_text(encoding="utf-8")
            experiment.write_text(text.replace('plugins = ["./vote.py"]\n', ""), encoding="utf-8")
            return
        if words[0] == "harness":
            words = [sys.executable, "-m", "harness", *words[1:]]
        elif words[:3] == ["python", "-m", "pytest"]:
            words = [sys.executable, "-m", "pytest", "-p", "harness.testing.pytest_plugin", *words[3:]]
        else:
            raise AssertionError(f"nothing runs this: {line}")
        result = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, env=self.env)
        assert result.returncode == 0, f"$ {line}\n{result.stdout}\n{result.stderr}"
        self.outputs[line] = result.stdout


def test_the_tutorial_ends_with_ones_own_plugins_in_a_comparison(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow("strategy.md")
    table = reader.outputs["harness run experiment.toml"]
    assert re.search(r"^\W*vote\b", table, re.M) and "zero-shot" in table, table
    assert "./vote.py" in reader.outputs["harness check experiment.toml"]
    assert "0 broken" in reader.outputs["harness plugins test vote.py"]
    assert "team-vote 0.1.0" in reader.outputs["harness plugins show vote"]

    before = rows(reader.folder, "SELECT id, started_at FROM trials")
    reader.follow("metric.md")
    scored = {metric for (metric,) in rows(reader.folder, "SELECT DISTINCT metric FROM scores")}
    assert scored == {"accuracy", "weighted_accuracy", "bits_per_byte"}
    assert len(rows(reader.folder, "SELECT DISTINCT trial_id FROM measurements")) == 2
    assert rows(reader.folder, "SELECT id, started_at FROM trials") == before, "a metric must not run a model"

    reader.follow("retriever.md")
    assert "rules+vote" in reader.outputs["harness run experiment.toml"]
    shown = rows(
        reader.folder, "SELECT prompt FROM predictions p JOIN trials t ON p.trial_id = t.id WHERE arm = 'rules+vote'"
    )
    assert all("team." in prompt and "Similar messages" in prompt for (prompt,) in shown)


def test_a_strategy_takes_forty_lines() -> None:
    (code,) = [text for language, file, text in steps("strategy.md") if file == "vote.py"]
    assert len(code.splitlines()) <= 40
    ast.parse(code)


def test_the_first_page_runs_too(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow("README.md")
    assert (reader.folder / "my-strategy" / "my_strategy.py").is_file()


# -------------------------------------------------------------------------------------------- new packages


@pytest.mark.parametrize("kind", SCAFFOLDS)
def test_a_new_package_installs_and_passes_its_tests(kind: str, tmp_path: Path) -> None:
    name = f"brand-new-{kind}"
    folder = write_package(name, kind, tmp_path)
    assert tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] == name
    for code in folder.glob("*.py"):
        ast.parse(code.read_text(encoding="utf-8"))
        assert not re.search(r"\b(NAME|CLASS|MODULE|KIND|HOOK|SPEC|DOC|OWN)\b", code.read_text(encoding="utf-8"))
    site = install(tmp_path / "site", folder)
    env = {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    tested = harness(folder, "plugins", "test", name, env=env)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "0 broken" in tested.stdout and "1 plugins" in tested.stdout
    checked = harness(folder, "check", "experiment.toml", env=env)
    assert checked.returncode == 0, checked.stderr
    pytest_run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    result = subprocess.run(pytest_run, cwd=folder, capture_output=True, text=True, env={**os.environ, **env})
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("My Strategy", "e.g. 'my-strategy'"), ("9", "e.g. 'my-strategy'"), ("lora", "a strategy 'lora' already")],
)
def test_a_name_that_cannot_be_used_is_refused(name: str, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as caught:
        write_package(name, "strategy", tmp_path)
    assert wanted in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_package("mine", "metric", tmp_path)
    with pytest.raises(PluginError, match="exists"):
        write_package("mine", "metric", tmp_path)


# ---------------------------------------------------------------------------------- list, show and the schema


@pytest.fixture
def call() -> Callable[..., Any]:
    from click.testing import CliRunner

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(cli, list(arguments), catch_exceptions=True)

    return invoke


def test_list_and_show_say_what_the_registry_knows(call: Callable[..., Any], registry: Registry) -> None:
    listed = json.loads(call("plugins", "list", "--json").output)
    assert {(row["kind"], row["name"]) for row in listed} == {(entry.kind, entry.name) for entry in registry.entries}
    assert {row["kind"] for row in json.loads(call("plugins", "list", "--kind", "retriever", "--json").output)} == {
        "retriever"
    }
    text = call("plugins").output
    assert all(entry.name in text for entry in registry.entries)
    shown = call("plugins", "show", "lora").output
    for part in ("strategy lora", "adaptation-harness", "weights", "r (integer; 16): Rank of the adapters."):
        assert part in shown, shown
    (found,) = json.loads(call("plugins", "show", "lora", "--json").output)
    assert (
        found["state"] == "loaded"
        and {"name": "r", "type": "integer", "default": "16"}.items()
        <= next(setting for setting in found["settings"] if setting["name"] == "r").items()
    )
    wrong = call("plugins", "show", "loraa")
    assert isinstance(wrong.exception, PluginError) and "Did you mean 'lora'?" in str(wrong.exception)


def test_every_plugin_can_be_shown(call: Callable[..., Any], registry: Registry) -> None:
    for entry in registry.entries:
        (found,) = [
            row for row in json.loads(call("plugins", "show", entry.name, "--json").output) if row["kind"] == entry.kind
        ]
        assert found["summary"] == entry.spec.summary


@pytest.fixture(scope="module")
def schema(registry: Registry) -> dict[str, Any]:
    return experiment_schema(registry)


def test_the_schema_is_one(schema: dict[str, Any]) -> None:
    jsonschema.Draft7Validator.check_schema(schema)
    references = set(re.findall(r'"\$ref": "#/definitions/([^"]+)"', json.dumps(schema)))
    assert references <= set(schema["definitions"])


@pytest.mark.parametrize("toml", sorted((ROOT / "experiments").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_experiments_fit_the_schema(toml: Path, schema: dict[str, Any]) -> None:
    jsonschema.validate(tomllib.loads(toml.read_text(encoding="utf-8")), schema, jsonschema.Draft7Validator)


GOOD = {
    "experiment": {"name": "x"},
    "task": {"loader": "csv", "data": "a.csv"},
    "arm": [{"name": "a", "strategies": ["lora"], "lora": {"r": 4}}],
}


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("experiment", {"name": 3}),
        ("experiment", {"name": "x", "sedes": [1]}),
        ("task", {"loader": "csvv"}),
        ("task", {"loader": "csv", "countries": 3}),
        ("task", {"loader": "factbook", "train": "train.csv"}),
        ("task", {"loader": "csv", "metrics": ["accuarcy"]}),
        ("task", {"loader": "csv", "metrics": [{"use": "regex", "patern": "x"}]}),
        ("arm", [{"name": "a", "strategies": ["loraa"]}]),
        ("arm", [{"name": "a", "strategies": ["lora"], "lora": {"rank": 4}}]),
        ("arm", []),
        ("nonsense", {}),
        ("benchmarks", {"tasks": ["arc_easy"], "limits": 3}),
        ("benchmarks", {"limit": 3}),
        ("benchmarks", {"use": "lm_evil", "tasks": ["arc_easy"]}),
        ("run", {"observers": ["nobody"]}),
        ("plugins", ["./mine.txt"]),
    ],
)
def test_the_schema_refuses_what_check_refuses(schema: dict[str, Any], table: str, change: Any) -> None:
    jsonschema.validate(GOOD, schema, jsonschema.Draft7Validator)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**GOOD, table: change}, schema, jsonschema.Draft7Validator)


def test_the_schema_takes_chains_with_ids_and_observers(schema: dict[str, Any]) -> None:
    arm = {"name": "a", "strategies": ["rag", {"use": "lora", "id": "second", "r": 4}], "second": {"lr": 0.1}}
    run = {"observers": [{"use": "event_log", "path": "e.jsonl"}], "silence_limit_s": 5}
    jsonschema.validate({**GOOD, "arm": [arm], "run": run}, schema, jsonschema.Draft7Validator)


def test_the_schema_verb_prints_it(call: Callable[..., Any], schema: dict[str, Any]) -> None:
    assert json.loads(call("schema").output) == schema
