"""`python -m perf`: every measurement in turn, each in a process of its own; extra arguments go to all of them."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("scoring", "generation", "training")

if __name__ == "__main__":
    sys.exit(max(subprocess.call([sys.executable, "-m", f"perf.{name}", *sys.argv[1:]]) for name in MODULES))
