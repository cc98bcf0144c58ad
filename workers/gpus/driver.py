"""Asks NVIDIA's driver which GPUs there are and which processes compute on them, by `nvidia-smi`.

It imports no torch: whoever asks CUDA for its devices can't fork any more.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.errors import Unavailable
from workers.processes import is_running

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
"""The pid namespace of the machine itself; its number is fixed in Linux (`PROC_PID_INIT_INO`)."""

_PATIENCE = 20.0
_LISTED = re.compile(r"^GPU \d+: .*\(UUID: (GPU-[0-9a-fA-F-]+)\)", re.MULTILINE)


def present_gpus() -> tuple[str, ...]:
    """Return the UUIDs of all GPUs of the machine, in the driver's order; none without a driver."""
    listed = query("-L")
    if listed is not None:
        return tuple(_LISTED.findall(listed))
    folder = Path("/proc/driver/nvidia/gpus")
    return tuple(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else ()


def visible_gpus(named: str | None, present: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the devices that CUDA will number 0, 1, … in a process with this `CUDA_VISIBLE_DEVICES`; None: not set, so all there are.

    Devices go by their UUID where the driver tells it, since an index means another GPU in another container. Indices are the driver's,
    which CUDA follows under `CUDA_DEVICE_ORDER=PCI_BUS_ID`. Without a driver the names stay as they are.
    """
    present = present_gpus() if present is None else present
    if named is None:
        return tuple(present)
    devices: list[str] = []
    for name in named.split(","):
        device = _known_as(name.strip(), present)
        if device is None:
            break  # CUDA, too, ignores what follows a name that it does not know: -1 hides all
        devices.append(device)
    return tuple(devices)


def usable_gpus(named: str | None) -> tuple[str, ...]:
    """Return the devices of `visible_gpus` that a driver on this machine vouches for: none where there is no driver."""
    present = present_gpus()
    return visible_gpus(named, present) if present else ()


def cuda_names(devices: Sequence[str]) -> str:
    """Return the `CUDA_VISIBLE_DEVICES` that shows these devices and no other, in this order; empty: none."""
    present = present_gpus() if any(":" in device for device in devices) else ()
    # Where nvidia-smi is missing, devices go by their place on the bus, a name that CUDA does not take; it counts in the same order.
    return ",".join(str(present.index(device)) if device in present else device for device in devices)


def _known_as(name: str, present: Sequence[str]) -> str | None:
    if name.isdecimal():
        if not present:
            return str(int(name))
        return present[int(name)] if int(name) < len(present) else None
    if name.startswith("GPU-"):
        fitting = [device for device in present if device.startswith(name)]
        return fitting[0] if len(fitting) == 1 else name if not present else None
    return name if name.startswith("MIG-") else None


def computing(devices: Sequence[str]) -> dict[str, int]:
    """Return the GPUs among `devices` on which a process computes, with the id of one such process; empty without a driver.

    The driver numbers processes as the machine does, and a container has numbers of its own: there an id may belong to nobody, or to
    an unrelated process that happens to bear it. So only on the machine itself an id without a process is taken for one that has ended.

    Raises:
        Unavailable: the driver does not answer.
    """
    listed = (query("--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader") or "") if devices else ""
    found: dict[str, int] = {}
    for line in listed.splitlines():
        pid, _, device = (part.strip() for part in line.partition(","))
        if pid.isdecimal() and device in devices and (_runs(int(pid)) or not sees_all_processes()):
            found.setdefault(device, int(pid))
    return found


def _runs(pid: int) -> bool:
    """Return whether a process of this machine runs. /proc alone doesn't tell: it may be mounted so that it hides those of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return is_running(pid)  # no zombie, which has given its memory back


@dataclass(frozen=True)
class GpuUsage:
    """What a GPU does at this moment: share of time with a kernel on it, 0 to 100, memory in use, and power, where the driver tells it."""

    utilization: float
    memory_bytes: int
    watts: float | None


def usage(devices: Sequence[str]) -> list[GpuUsage]:
    """Return what each of these GPUs does, by UUID; those that the driver does not tell of are left out.

    Raises:
        Unavailable: the driver does not answer.
    """
    fields = "uuid,utilization.gpu,memory.used,power.draw"
    listed = (query(f"--query-gpu={fields}", "--format=csv,noheader,nounits") or "") if devices else ""
    found = []
    for line in listed.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) != len(fields.split(",")) or parts[0] not in devices:
            continue
        utilization, memory, watts = (_number(part) for part in parts[1:])
        if utilization is not None and memory is not None:
            found.append(GpuUsage(utilization, int(memory * 2**20), watts))
    return found


def _number(text: str) -> float | None:
    """Return a number, or None for what the driver writes in its place, such as `[N/A]`."""
    try:
        return float(text)
    except ValueError:
        return None


def sees_all_processes() -> bool:
    """Return whether process ids mean here what they mean to the driver: not so in a container without `pid: host`."""
    try:
        return os.readlink("/proc/self/ns/pid") == INITIAL_PID_NAMESPACE  # noqa: PTH115 - no path
    except OSError:
        return False


def query(*question: str) -> str | None:
    """Return what `nvidia-smi` prints, or None where it is missing or finds no driver."""
    try:
        asked = subprocess.run(["nvidia-smi", *question], capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        raise Unavailable("nvidia-smi does not answer: reboot this node to restart its driver") from None
    return asked.stdout if asked.returncode == 0 else None
