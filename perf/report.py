"""Time of the reports of a large run: `python -m perf.report [--items N]`.

A made-up run with six arms and 100,000 predictions (16,667 items) in a database of its own; `harness report` as a whole
process, interpreter start included, in every format. The aim: 3 s for the terminal, 15 s for HTML, on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
FORMATS = ("terminal", "markdown", "json", "csv", "html")


def main() -> int:
    parser = argparse.ArgumentParser(description="time of the reports of a large run")
    parser.add_argument("--items", type=int, default=16_667, help="items; six arms answer each")
    parser.add_argument("--quick", action="store_true", help="a tenth of the items")
    given, _ = parser.parse_known_args()  # the other measurements' arguments mean nothing here
    items = given.items // 10 if given.quick else given.items
    sys.path.insert(0, str(ROOT / "tests"))  # the tests use the same made-up run
    from synthetic_run import ARMS, synthetic_run

    seconds, sizes = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "harness.db"
        print(f"writing {items * len(ARMS):,} predictions", file=sys.stderr, flush=True)
        synthetic_run(results, items=items)
        for form in FORMATS:
            out = Path(folder) / f"report.{form}"
            command = [sys.executable, "-m", "harness", "report", "--format", form, "-o", str(out)]
            started = time.perf_counter()
            subprocess.run([*command, "--results", str(results)], check=True, cwd=ROOT)
            seconds[form] = round(time.perf_counter() - started, 2)
            sizes[form] = out.stat().st_size
            print(f"{form}: {seconds[form]} s, {sizes[form]:,} bytes", file=sys.stderr, flush=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(json.dumps({"predictions": items * len(ARMS), "cores": cores, "seconds": seconds, "bytes": sizes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
