"""Locks GPUs, so that each is used by one training at a time: one lock a device, released when the last process of the training is gone.

A lock is a file with `flock` on it. The kernel drops it with the last open copy, so a SIGKILL leaves nothing to clean up, and a file
that merely lies there locks nothing. To take a device is to lock its file exclusively, which fails while another process holds any lock
on it; then the lock becomes a shared one. Each rank takes a shared lock of its own (`join`): torchrun closes what its children would
inherit, and a rank that is still giving its memory back must keep the device from the next training even when its parents are gone.

It imports no torch: whoever asks CUDA for its devices can't fork any more.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from workers.errors import Unavailable
from workers.file_permissions import make_private
from workers.processes import boot_id, descendants

_POLL_SECONDS = 0.1
_DRIVER_PATIENCE = 20.0
_LISTED = re.compile(r"^GPU \d+: .*\(UUID: (GPU-[0-9a-fA-F-]+)\)", re.MULTILINE)


def lock_folder(home: Path) -> Path:
    """Return the folder of the locks that the workers of this machine and user share: `<home>/locks/<boot id>`.

    `/run/lock` and `/tmp` are other folders in every container and under systemd's PrivateTmp; the state folder is the one place
    that all workers of a user agree on. Nodes may share it, though, and number their GPUs alike: hence the kernel's boot id, which
    is one for a machine and all of its containers. Containers that share a GPU and no state folder do not see each other's locks.
    """
    return home / "locks" / boot_id()


def visible_gpus(named: str | None) -> tuple[str, ...]:
    """Return the devices that CUDA will number 0, 1, … in a process with this `CUDA_VISIBLE_DEVICES`; None: not set, so all there are.

    Devices go by their UUID where the driver tells it, since an index means another GPU in another container. Indices are the driver's,
    which CUDA follows under `CUDA_DEVICE_ORDER=PCI_BUS_ID`. Without a driver the names stay as they are.
    """
    present = _present()
    if named is None:
        return present
    devices: list[str] = []
    for name in named.split(","):
        device = _known_as(name.strip(), present)
        if device is None:
            break  # CUDA, too, ignores what follows a name that it does not know: -1 hides all
        devices.append(device)
    return tuple(devices)


def usable_gpus(named: str | None) -> tuple[str, ...]:
    """Return the devices of `visible_gpus` that a driver on this machine vouches for: none where there is no driver."""
    return visible_gpus(named) if _present() else ()


def _known_as(name: str, present: Sequence[str]) -> str | None:
    if name.isdecimal():
        if not present:
            return str(int(name))
        return present[int(name)] if int(name) < len(present) else None
    if name.startswith("GPU-"):
        fitting = [device for device in present if device.startswith(name)]
        return fitting[0] if len(fitting) == 1 else name if not present else None
    return name if name.startswith("MIG-") else None


def _present() -> tuple[str, ...]:
    listed = _ask_driver("-L")
    if listed is not None:
        return tuple(_LISTED.findall(listed))
    folder = Path("/proc/driver/nvidia/gpus")
    return tuple(sorted(entry.name for entry in folder.iterdir())) if folder.is_dir() else ()


@contextmanager
def held(devices: Sequence[str], folder: Path, patience: float, job: str = "") -> Iterator[tuple[int, ...]]:
    """Hold these devices for the block, and beyond it for as long as a process lives that inherited the locks or joined them.

    Args:
        devices: names as `visible_gpus` gives them.
        folder: where the locks lie, the same for all that share the devices.
        patience: seconds to wait for a device that is busy.
        job: on whose behalf; shown to others that want the device.

    Yields:
        The open locks, to be handed to a child with `pass_fds`.

    Raises:
        Unavailable: naming a device and who has it. Nothing is held then.
    """
    make_private(folder)
    deadline = time.monotonic() + patience
    with ExitStack() as opened:
        locks: list[int] = []
        # In the same order everywhere, or two trainings that want the same two devices could wait for each other.
        for device in sorted(set(devices)):
            lock = os.open(lock_file(folder, device), os.O_RDWR | os.O_CREAT, 0o600)
            opened.callback(os.close, lock)  # closed, never unlocked: that would take it from those who inherited it
            _take(lock, device, deadline)
            _sign(lock, job)
            locks.append(lock)
        _wait_for_foreign_processes(devices, deadline)
        yield tuple(locks)


def join(files: Sequence[Path]) -> None:
    """Keep these devices locked for as long as this process lives, beside those that hold them already.

    Raises:
        Unavailable: the training that this process belongs to is gone, and somebody else is taking its device.
    """
    for file in files:
        lock = os.open(file, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"{file.stem} is being taken by another training: this one has ended") from None


def lock_file(folder: Path, device: str) -> Path:
    """Return the lock file of one device."""
    return folder / f"gpu-{device.replace('/', '_')}.lock"


def _take(lock: int, device: str, deadline: float) -> None:
    while not _taken(lock):
        if time.monotonic() >= deadline:
            raise Unavailable(f"GPU {device} is held by {_holder(lock)}: the job waits. `--gpu` gives each worker devices of its own")
        time.sleep(_POLL_SECONDS)


def _taken(lock: int) -> bool:
    """Lock exclusively, then share. Between the two it is free for a moment, in which another process may take it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(lock: int, job: str) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, json.dumps({"pid": os.getpid(), "job": job}).encode(), 0)


def _holder(lock: int) -> str:
    try:
        signed = json.loads(os.pread(lock, 1000, 0))
        return f"process {int(signed['pid'])}, job {signed['job'] or 'unknown'}"
    except (ValueError, KeyError, TypeError):
        return "another training"


def foreign_processes(devices: Sequence[str]) -> list[tuple[int, str]]:
    """Return the processes that compute on these GPUs and are neither this one nor below it, with the GPU of each.

    Empty where there is no driver to ask. A process of another pid namespace can't be distinguished from our own and is left out.

    Raises:
        Unavailable: the driver does not answer.
    """
    listed = _ask_driver("--query-compute-apps=pid,gpu_uuid", "--format=csv,noheader") or ""
    ours = {os.getpid()} | descendants(os.getpid())
    found: list[tuple[int, str]] = []
    for line in listed.splitlines():
        pid, _, device = (part.strip() for part in line.partition(","))
        if pid.isdecimal() and device in devices and int(pid) not in ours and Path(f"/proc/{pid}").exists():
            found.append((int(pid), device))
    return found


def _wait_for_foreign_processes(devices: Sequence[str], deadline: float) -> None:
    while others := foreign_processes(devices) if devices else []:
        if time.monotonic() >= deadline:
            pid, device = others[0]
            raise Unavailable(f"GPU {device} is in use by process {pid}, which is not of this training: the job waits for its end")
        time.sleep(_POLL_SECONDS)


def _ask_driver(*question: str) -> str | None:
    """Return what `nvidia-smi` prints, or None where it is missing or finds no driver."""
    try:
        asked = subprocess.run(["nvidia-smi", *question], capture_output=True, text=True, timeout=_DRIVER_PATIENCE, check=False)
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired:
        raise Unavailable("nvidia-smi does not answer: reboot this node to restart its driver") from None
    return asked.stdout if asked.returncode == 0 else None
