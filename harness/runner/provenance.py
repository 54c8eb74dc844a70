"""What a result depended on: package versions, plugins, machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from harness.models.device import cpu_flags
from harness.plugins import Registry

PACKAGES = ("adaptation-harness", "torch", "transformers", "peft", "tokenizers", "bm25s", "numpy", "rouge-score")


def package_versions(registry: Registry) -> dict[str, str]:
    """Versions of what can change a number: libraries and plugin packages."""
    found = {"python": platform.python_version()}
    for name in (*PACKAGES, *(origin.distribution for origin in registry.origins if origin.ok)):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine_facts() -> dict[str, Any]:
    """Processor, cores and memory; no names of hosts or users."""
    import psutil

    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "bfloat16": bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"}),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
