"""Find processes of a stack without a record: by their socket, their folder, their lock, or the mark in their environment.

A record may be lost, or hold anything; what the kernel says of a live process is true.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import psutil

from deploy.environment import PROCESS
from deploy.local.home import Home
from deploy.local.processes import find_process
from workers.processes import all_pids, environment, started


def listener(path: Path) -> psutil.Process | None:
    """Return the process that listens on a Unix socket; None when nobody does."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            pid, _, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        except OSError:  # nobody listens, or the path is too long for a socket
            return None
    return _process(pid) if pid > 0 else None


def at_work_in(folder: Path, program: str) -> psutil.Process | None:
    """Return the process called `program` whose working folder this is; of several the one that started the others."""
    wanted = _file(folder)
    found = {
        pid for pid in all_pids() if wanted is not None and _command(pid).startswith(program) and _file(Path(f"/proc/{pid}/cwd")) == wanted
    }
    return next(_first(found), None)


def holders(lock: Path) -> list[psutil.Process]:
    """Return the processes that hold the lock on a file (`flock`), one that was handed down included."""
    wanted = _file(lock)
    return (
        []
        if wanted is None
        else [process for pid in all_pids() if pid != os.getpid() and _holds(pid, wanted) and (process := _process(pid)) is not None]
    )


def marked(home: Path) -> dict[str, psutil.Process]:
    """Return the live processes that a stack in `home` started, by their names in it. Children of theirs are left out."""
    names = {pid: name for pid in all_pids() if (name := _mark(pid, os.fsencode(home))) and pid != os.getpid()}
    found: dict[str, psutil.Process] = {}
    for pid, name in names.items():
        process = _process(pid)
        if process is None or names.get(_parent(process)) == name:
            continue
        found[name if name not in found else f"{name} ({process.pid})"] = process
    return found


def supervisor_of(home: Home) -> psutil.Process | None:
    """Return the supervisor of this home: by its record or, without one, by the lock that it holds."""
    return find_process(home.supervisor_file) or next(iter(holders(home.lock_file)), None)


def _mark(pid: int, home: bytes) -> str | None:
    variables = environment(pid)
    return os.fsdecode(variables.get(PROCESS.encode(), b"")) if variables.get(b"TWEETMILL_HOME") == home else None


def _holds(pid: int, wanted: tuple[int, int]) -> bool:
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            if _file(Path(entry.path)) == wanted and "FLOCK" in Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text():
                return True
    except OSError:
        return False
    return False


def _first(pids: set[int]) -> Iterator[psutil.Process]:
    """Yield those whose parent is not among them."""
    for pid in sorted(pids):
        process = _process(pid)
        if process is not None and _parent(process) not in pids:
            yield process


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid) if started(pid) is not None else None
    except psutil.Error:
        return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def _file(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
