"""Who may import whom, as a fresh interpreter sees it."""

from __future__ import annotations

import ast
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_task import save_data, save_model

ROOT = Path(__file__).parent.parent
Write = Callable[[str, str], Path]
HEAVY = ("torch", "transformers", "peft", "lm_eval", "sentence_transformers", "datasets")


def loaded(code: str) -> str:
    program = f"import sys\n{code}\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    return result.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "module",
    [
        "harness",
        "harness.cli",
        "harness.config",
        "harness.runner.coordinator",
        "harness.runner.prepare",
        "harness.store.database",
        "harness.analysis.comparison",
        "harness.report.terminal",
        "harness.tasks.task",
        "harness.taxonomy",
    ],
)
def test_core_imports_nothing_heavy(module: str) -> None:
    assert loaded(f"import {module}") == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["plugins"],
        ["plugins", "show", "lora"],
        ["schema"],
        ["check", "experiments/quickstart.toml"],
        ["check", "experiments/support-intents.toml"],
    ],
)
def test_light_verbs_import_nothing_heavy(arguments: list[str]) -> None:
    run = "from harness.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass"
    code = f"sys.argv = ['harness', *{arguments!r}]\n{run}"
    assert loaded(code) == "[]"


def test_a_run_whose_metrics_need_models_leaves_them_to_other_processes(folder: Path, write: Write) -> None:
    save_model(folder / "model")
    save_data(folder)
    toml = write(
        "e.toml",
        """
        [experiment]
        name = "colours"
        [model]
        ref = "./model"
        [task]
        loader = "csv"
        train = "train.csv"
        validation = "validation.csv"
        test = "test.csv"
        metrics = ["embedding_similarity", "gold_perplexity", "consistency"]
        [generation]
        max_new_tokens = 2
        [[arm]]
        name = "zero"
        strategies = ["prompt"]
        """,
    )
    results = folder / "results.db"
    arguments = ["harness", "run", str(toml), "--results", str(results)]
    run = "from harness.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass"
    assert loaded(f"sys.argv = {arguments!r}\n{run}") == "[]"
    with sqlite3.connect(results) as db:
        counts = dict(db.execute("SELECT metric, count(*) FROM scores GROUP BY 1"))
        similar = db.execute("SELECT avg(value) FROM scores WHERE metric = 'embedding_similarity'").fetchone()[0]
    assert counts == {"embedding_similarity": 24, "gold_perplexity": 24, "consistency": 24}
    assert 0 <= similar < 1


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_core_never_imports_the_built_in_plugins() -> None:
    for path in (ROOT / "harness").rglob("*.py"):
        assert not {name for name in imports(path) if name.startswith("harness_plugins")}, path


def test_analysis_is_pure() -> None:
    for path in (ROOT / "harness" / "analysis").rglob("*.py"):
        bad = {
            name for name in imports(path) if name.startswith(("harness.store", "harness.runner", "torch", "sqlite"))
        }
        assert not bad, path


def test_vocabulary_uses_the_standard_library_only() -> None:
    for name in ("types", "exceptions", "adaptation"):
        outside = (
            {module.split(".")[0] for module in imports(ROOT / "harness" / f"{name}.py")}
            - set(sys.stdlib_module_names)
            - {"__future__"}
        )
        assert not outside, (name, outside)


def test_plugins_import_only_public_names() -> None:
    public = (
        "harness.types",
        "harness.exceptions",
        "harness.hookspecs",
        "harness.events",
        "harness.strategy",
        "harness.adaptation",
        "harness.readout",
        "harness.rendering",
        "harness.taxonomy",
        "harness.local_code",
        "harness.models.source",
        "harness.training.settings",
    )
    for path in (ROOT / "plugins").rglob("*.py"):
        own = {name for name in imports(path) if name == "harness" or name.startswith("harness.")}
        assert own <= set(public), (path, own - set(public))
