"""Peak memory of one phase in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Highest resident memory since `start`, in bytes.

    Linux can reset the high-water mark (write 5 to /proc/self/clear_refs); elsewhere the mark of the whole process is
    all there is, and is labelled "estimated". On CUDA the device's own peak is added.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.basis: Literal["measured", "estimated"] = "measured"

    def start(self) -> None:
        try:
            _CLEAR.write_text("5")
            self.basis = "measured"
        except OSError:
            self.basis = "estimated"
        if self.device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> float | None:
        peak = self._resident()
        if peak is not None and self.device == "cuda":
            import torch

            peak += torch.cuda.max_memory_allocated()
        return peak

    def _resident(self) -> float | None:
        try:
            for line in _STATUS.read_text(encoding="utf-8").splitlines():
                if line.startswith("VmHWM:"):
                    return float(line.split()[1]) * 1024
        except OSError:
            pass
        try:
            import resource
            import sys

            unit = 1 if sys.platform == "darwin" else 1024
            self.basis = "estimated"
            return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
        except ImportError:
            return None
