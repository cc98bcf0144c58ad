"""Measures a run from outside the ranks: what its GPUs do, and the energy that they or the CPUs take.

GPUs are asked through their driver, whose power is summed up over time. CPUs have a counter of their own (RAPL, in Linux's powercap),
which many machines let root alone read. It counts the packages of the whole machine, whoever else computes there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from workers.errors import Unavailable
from workers.gpus import driver
from workers.training.protocol.progress import GpuUse

SAMPLE_SECONDS = 10.0
POWERCAP = Path("/sys/class/powercap")


class Meter:
    """Measures from when it is made; a driver that does not answer is not asked again.

    Args:
        devices: the GPUs of the run on this node; empty on CPUs.
        powercap: where the kernel counts the energy of CPU packages.
    """

    def __init__(self, devices: Sequence[str], powercap: Path = POWERCAP) -> None:
        self._devices = devices
        self._counters = [] if devices else [file.parent for file in sorted(powercap.glob("intel-rapl:[0-9]*/energy_uj"))]
        self._counters = [folder for folder in self._counters if folder.name.count(":") == 1]
        self._counted = self._read()
        self._joules = 0.0
        self._watts: float | None = None
        self._at = float("-inf")
        self._is_known = bool(devices) or bool(self._counters)

    def sample(self, now: float | None = None, *, at_once: bool = False) -> GpuUse | None:
        """Measure when ten seconds have passed since the last time; return what the GPUs do, if there are any.

        Args:
            now: the moment, of `time.monotonic`.
            at_once: measure in any case.
        """
        now = time.monotonic() if now is None else now
        if not self._is_known or (now - self._at < SAMPLE_SECONDS and not at_once):
            return None
        since, self._at = now - self._at, now
        if self._devices:
            return self._sample_gpus(since)
        self._sample_cpus()
        return None

    @property
    def joules(self) -> float | None:
        """The energy so far; None where it can't be told."""
        return self._joules if self._is_known and self._joules else None

    @property
    def source(self) -> str:
        """Who told it."""
        return "nvidia-smi" if self._devices else "RAPL of the whole machine"

    def _sample_gpus(self, since: float) -> GpuUse | None:
        try:
            used = driver.usage(self._devices)
        except Unavailable:
            used = []
        if not used:
            self._is_known = False
            return None
        powers = [each.watts for each in used]
        watts = sum(power or 0.0 for power in powers) if None not in powers else None
        if watts is not None and self._watts is not None:
            self._joules += since * (watts + self._watts) / 2
        self._watts = watts
        utilization = sum(each.utilization for each in used) / len(used)
        return GpuUse(utilization=utilization, memory_bytes=sum(each.memory_bytes for each in used), watts=watts)

    def _sample_cpus(self) -> None:
        counted = self._read()
        for folder, value in counted.items():
            before = self._counted.get(folder, value)
            # The counter begins anew at a limit of its own.
            self._joules += (value - before if value >= before else value + _microjoules(folder / "max_energy_range_uj") - before) / 1e6
        self._counted = counted

    def _read(self) -> dict[Path, int]:
        try:
            return {folder: _microjoules(folder / "energy_uj") for folder in self._counters}
        except (OSError, ValueError):
            self._counters = []
            return {}


def _microjoules(file: Path) -> int:
    return int(file.read_text())
