"""Says on what a training ran: the processor, its cores, the memory, and the GPUs. It loads no torch."""

from __future__ import annotations

import os
import platform
from collections import Counter
from pathlib import Path
from typing import Any

from workers.training.protocol.outcome import TrainingResult


def hardware(result: TrainingResult) -> dict[str, Any]:
    """Return the machine of this worker as JSON: `cpu`, `cores` that it may use, `memory_bytes`, and `gpus` of the ranks by name."""
    found: dict[str, Any] = {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "memory_bytes": _memory()}
    if result.accelerators:
        found["gpus"] = dict(Counter(result.accelerators))
    return found


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
