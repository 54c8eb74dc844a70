"""Documentation is tested code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.cli import VERBS
from harness.plugins import KINDS

ROOT = Path(__file__).parent.parent


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


def test_generated_pages_are_up_to_date() -> None:
    result = subprocess.run([sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_every_hook_and_verb_is_documented() -> None:
    hooks = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")
    assert all(hook in hooks for hook in KINDS.values())
    cli = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert all(f"## `harness {verb}`" in cli for verb in VERBS)


@pytest.mark.parametrize("code", blocks(ROOT / "README.md", "python"))
def test_python_in_the_readme_runs(code: str) -> None:
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["harness_strategies"]()[0].name == "polite"  # type: ignore[operator]


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name)
def test_toml_parses_and_links_lead_somewhere(page: Path) -> None:
    for text in blocks(page, "toml"):
        assert tomllib.loads(text)
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
