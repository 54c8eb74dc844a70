"""The tables of `docs/performance.md` from the measurements in results/perf/: `python -m perf.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results" / "perf"
PAGE = ROOT / "docs" / "performance.md"
MODULES = ("scoring", "generation", "training")
START, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PEERS = {
    "scoring": "Scoring against lm-eval's `HFLM` (model calls alone)",
    "generation": "Generation against transformers' `generate` (whole calls)",
    "training": "Training against transformers' `Trainer` with peft",
}
DTYPES = {"workloads": "float32", "workloads_bf16": "bfloat16"}
TITLES = {
    "scoring": DTYPES,
    "generation": DTYPES,
    "training": {
        "workloads": "`Trainer` at its defaults (float32)",
        "workloads_bf16": "`Trainer` at its best setting (bf16, grouped by length)",
        "workloads_trl": "TRL's `SFTTrainer` (bf16, grouped by length)",
    },
}


def write() -> None:
    """Replaces what stands between the two marks, where there is a newer measurement; words around them are written by
    people."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START, 1)
    measured, after = rest.split(END, 1)
    parts = {part.split("\n", 1)[0]: f"## {part.rstrip()}\n" for part in measured.split("\n## ")[1:]}
    for name in MODULES:
        if (RESULTS / f"{name}.json").is_file():
            parts[PEERS[name]] = _section(name, RESULTS / f"{name}.json")
    kept = [parts[PEERS[name]] for name in MODULES if PEERS[name] in parts]
    PAGE.write_text(f"{before}{START}\n\n" + "\n".join(kept) + f"\n{END}{after}", encoding="utf-8")


def _section(name: str, file: Path) -> str:
    found = json.loads(file.read_text(encoding="utf-8"))
    machine, lines = found["machine"], [f"## {PEERS[name]}", ""]
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    place = f"{machine['processor']}, {machine['threads']} threads ({machine['vector_instructions']})"
    data = f"; {found['data']}" if "data" in found else ""
    lines += [f"{place}, {machine['system']}, {_size(machine['memory_bytes'])} of memory; {versions}{data}.", ""]
    for key, title in TITLES[name].items():
        if found.get(key):
            lines += [f"### {title}", "", *_table(found[key]), ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Columns that no row knows are left out."""
    columns = {
        "workload": [f"`{row['name']}`" for row in rows],
        "items": [_count(row.get("items")) for row in rows],
        "ours": [_amount(row["ours"], row["unit"]) for row in rows],
        "peer": [_amount(row["peer"], row["unit"]) for row in rows],
        "ratio": [f"**{row['ratio']:.2f}×**" for row in rows],
        "largest difference": [_difference(row.get("max_abs_difference")) for row in rows],
        "decisions equal": [_share(row.get("argmax_agreement")) for row in rows],
        "equal to float32": [_share(row.get("agreement_with_float32")) for row in rows],
        "validation loss, ours / peer": [_losses(row.get("validation_loss")) for row in rows],
        "peak memory, ours / peer": [_memory(row) for row in rows],
    }
    kept = {header: cells for header, cells in columns.items() if any(cells)}
    lines = [f"| {' | '.join(kept)} |", "|" + "|".join("--:" if i else ":--" for i in range(len(kept))) + "|"]
    return lines + [f"| {' | '.join(cells)} |" for cells in zip(*kept.values(), strict=True)]


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _amount(value: float, unit: str) -> str:
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.2f} {unit}"


def _difference(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _losses(values: dict[str, float] | None) -> str:
    return "" if values is None else f"{values['ours']:.3f} / {values['peer']:.3f}"


def _memory(row: dict[str, Any]) -> str:
    peak = row["peak_memory_bytes"]
    ours, peer = (peak["ours"], peak["peer"]) if isinstance(peak, dict) else (peak, row.get("peer_peak_memory_bytes"))
    return f"{_size(ours)} / {_size(peer)}" if peer else _size(ours)


def _size(value: float) -> str:
    return f"{value / 2**20:,.0f} MiB" if value < 2**32 else f"{value / 2**30:.0f} GiB"


if __name__ == "__main__":
    write()
