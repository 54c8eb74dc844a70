"""`python -m perf`: every measurement in turn, each in a process of its own, then `docs/performance.md` anew.

Arguments go to all modules. Each module's JSON object is kept in results/perf/, from which `python -m perf.page` writes
the page again.
"""

from __future__ import annotations

import json
import subprocess
import sys

from perf import page


def main() -> int:
    failed = 0
    page.RESULTS.mkdir(parents=True, exist_ok=True)
    for name in page.MODULES:
        command = [sys.executable, "-m", f"perf.{name}", *sys.argv[1:]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        failed = max(failed, done.returncode)
        if not done.returncode:
            last = done.stdout.strip().splitlines()[-1]
            print(last, flush=True)
            (page.RESULTS / f"{name}.json").write_text(json.dumps(json.loads(last), indent=1) + "\n", encoding="utf-8")
    page.write()
    return failed


if __name__ == "__main__":
    sys.exit(main())
