"""What one phase cost in this process: wall and processor seconds, a GPU held, energy, peak memory.

Energy is measured where the machine counts it: Intel's and AMD's RAPL counters (whole package, so that other processes
are in it too) and NVIDIA's (through pynvml, where that is installed). Without RAPL it is estimated from processor
seconds and marked so; a GPU whose energy cannot be read leaves the whole unknown. codecarbon's offline tracker does the
same with the same counters and otherwise estimates from a table of thermal design powers; it is not used, because it
brings fifteen more packages (an HTTP authentication client among them) and a thread for what takes a few lines here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.runner.memory import PeakMemory
from harness.types import LedgerEntry, Phase

RAPL = Path("/sys/class/powercap")
#: A busy core of a server processor, with its share of caches and memory: 200 to 400 W of thermal design power over 32
#: to 64 cores, and 3 W for each 8 GB of memory.
WATTS_PER_CORE = 8.0
Basis = Literal["measured", "estimated", "unknown"]


@dataclass(frozen=True)
class Spent:
    """`gpu_s` is wall time with a GPU held, whatever its load: that is what is paid for. `energy_j` in joules."""

    cpu_s: float = 0.0
    gpu_s: float = 0.0
    energy_j: float | None = 0.0
    energy_basis: Basis = "measured"

    def __add__(self, other: Spent) -> Spent:
        known = self.energy_j is not None and other.energy_j is not None
        bases = {self.energy_basis, other.energy_basis}
        basis: Basis = "unknown" if not known else "estimated" if "estimated" in bases else "measured"
        energy = (self.energy_j or 0.0) + (other.energy_j or 0.0) if known else None
        return Spent(self.cpu_s + other.cpu_s, self.gpu_s + other.gpu_s, energy, basis)

    def entries(self, phase: Phase) -> list[LedgerEntry]:
        """As ledger rows."""
        return [
            LedgerEntry(phase, "cpu_s", self.cpu_s, "s"),
            LedgerEntry(phase, "gpu_s", self.gpu_s, "s"),
            LedgerEntry(phase, "energy_j", self.energy_j, "J", self.energy_basis),
        ]


def unknown(phase: Phase) -> list[LedgerEntry]:
    """The rows of a phase part of which was not seen, as after an interruption."""
    units = {"cpu_s": "s", "gpu_s": "s", "energy_j": "J"}
    return [LedgerEntry(phase, quantity, None, unit, "unknown") for quantity, unit in units.items()]


class Meter:
    """Counts from `start` to `spent`."""

    def __init__(self, device: str = "cpu", rapl: Path = RAPL) -> None:
        self.device = device
        self.counters = _rapl_counters(rapl)
        self.start()

    def start(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        self.joules = [_read(counter) for counter in self.counters]
        self.gpu_joules = _gpu_joules() if self.device == "cuda" else None

    def spent(self) -> Spent:
        cpu = time.process_time() - self.cpu
        found = Spent(cpu, 0.0, *self._processor_energy(cpu))
        if self.device != "cuda":
            return found
        found = replace(found, gpu_s=time.perf_counter() - self.wall)
        now = _gpu_joules()
        if self.gpu_joules is None or now is None:
            return replace(found, energy_j=None, energy_basis="unknown")
        return found + Spent(energy_j=now - self.gpu_joules)

    def _processor_energy(self, cpu_s: float) -> tuple[float | None, Basis]:
        now = [_read(counter) for counter in self.counters]
        pairs = [(before, after) for before, after in zip(self.joules, now, strict=True)]
        if not pairs or any(before is None or after is None for before, after in pairs):
            return cpu_s * WATTS_PER_CORE, "estimated"
        total = 0.0
        for counter, (before, after) in zip(self.counters, pairs, strict=True):
            gone = (after or 0.0) - (before or 0.0)
            total += gone if gone >= 0 else gone + (_read(counter.with_name("max_energy_range_uj")) or 0.0)
        return total, "measured"


@dataclass(frozen=True)
class Cost:
    """What a stretch of work cost. Stretches of one phase add up; of peaks the highest counts."""

    wall_s: float = 0.0
    spent: Spent = Spent()
    peak_bytes: float | None = None
    memory_basis: Literal["measured", "estimated"] = "measured"

    def __add__(self, other: Cost) -> Cost:
        peak = max(filter(None, (self.peak_bytes, other.peak_bytes)), default=None)
        return Cost(self.wall_s + other.wall_s, self.spent + other.spent, peak, other.memory_basis)

    def wall(self, phase: Phase) -> LedgerEntry:
        return LedgerEntry(phase, "wall_s", self.wall_s, "s")

    def peak(self, phase: Phase) -> LedgerEntry:
        return LedgerEntry(phase, "peak_memory_bytes", self.peak_bytes, "bytes", self.memory_basis)

    def entries(self, phase: Phase) -> list[LedgerEntry]:
        """Everything, as ledger rows."""
        return [self.wall(phase), *self.spent.entries(phase), self.peak(phase)]


class Stopwatch:
    """Everything that a phase costs, from `start` to `cost`."""

    def __init__(self, device: str) -> None:
        self.memory, self.meter, self.started = PeakMemory(device), Meter(device), time.perf_counter()

    def start(self) -> None:
        self.memory.start()
        self.meter.start()
        self.started = time.perf_counter()

    def cost(self) -> Cost:
        wall = time.perf_counter() - self.started
        spent, peak = self.meter.spent(), self.memory.peak_bytes()
        return Cost(wall, spent, peak, self.memory.basis)


def _rapl_counters(folder: Path) -> list[Path]:
    """One counter for each processor package; sub-domains (cores, graphics) are parts of it."""
    return [path for path in sorted(folder.glob("intel-rapl:*/energy_uj")) if path.parent.name.count(":") == 1]


def _read(counter: Path) -> float | None:
    """Joules; None where the counter may not be read."""
    try:
        return int(counter.read_text(encoding="ascii")) / 1e6
    except (OSError, ValueError):
        return None


def _gpu_joules() -> float | None:
    """The GPU's energy counter; None where it or pynvml is missing."""
    try:
        import pynvml  # type: ignore[import-not-found]
        import torch

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except Exception:  # no package, no driver, a card without a counter: all the same to us
        return None
