"""Where a model will run and in which number format, decided without importing torch: both enter the keys."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@lru_cache(maxsize=1)
def cuda_available() -> bool:
    """A CUDA build of torch is installed and the driver sees a device."""
    try:
        if "+cpu" in version("torch"):
            return False
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int(0)
        return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
    except (OSError, PackageNotFoundError, AttributeError):
        return False


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def resolve_device(wanted: str) -> str:
    return ("cuda" if cuda_available() else "cpu") if wanted == "auto" else wanted


def resolve_dtype(wanted: str, device: str) -> str:
    """bfloat16 where the hardware multiplies it fast (CUDA, or a processor with bfloat16 instructions)."""
    if wanted != "auto":
        return wanted
    fast = device == "cuda" or bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    return "bfloat16" if fast else "float32"
