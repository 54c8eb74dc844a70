"""Builds and installs the distributions under tests/third_party as pip does for users, into a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "third_party"


def install(target: Path, *packages: Path) -> Path:
    """No index, no build isolation, no dependencies: nothing is downloaded and there is no second torch."""
    copies = []
    for package in packages:  # a build leaves files beside its sources
        copies.append(target.parent / "sources" / package.name)
        shutil.copytree(package, copies[-1])
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), *map(str, copies)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return target
