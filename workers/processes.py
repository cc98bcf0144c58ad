"""Identify processes for good, list those below one, and tie their lives together; on Linux by /proc and prctl.

Process ids are used again, and so are ticks after the machine was started anew: the kernel's boot id distinguishes its starts.

torchrun puts each rank in a session of its own, so a signal to the launcher's process group misses it. What reaches all of them is
PR_SET_PDEATHSIG, which asks the kernel for a signal when the parent dies, and PR_SET_CHILD_SUBREAPER, which makes orphans ours.

It imports nothing of ours and no torch: its callers may be about to fork.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded at import, which is before any fork: a child of a process with threads must not load libraries.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

# Fields of /proc/PID/stat, counted from the one behind the command.
_STATE, _PARENT, _STARTED = 0, 1, 19


@dataclass(frozen=True)
class Identity:
    """A process by its id, its start in clock ticks since the machine's own, which setting the clock does not move, and the boot."""

    pid: int
    started: int
    boot: str


def boot_id() -> str:
    """Return the machine's name for its last start: one for it and all of its containers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return os.uname().nodename


def started(pid: int) -> int | None:
    """Return when process `pid` started; None when it is gone or a zombie, which holds nothing and waits for its parent alone."""
    if sys.platform != "linux":
        return _started_elsewhere(pid)
    try:
        fields = _stat(pid)
        return None if fields[_STATE] in b"ZX" else int(fields[_STARTED])
    except (OSError, IndexError, ValueError):
        return None


def _stat(pid: int) -> list[bytes]:
    # The command, in parentheses, may itself hold spaces and parentheses: count from the last one.
    return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()


def _started_elsewhere(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 100)
    except psutil.Error:
        return None


def identify(pid: int) -> Identity | None:
    """Return the process that has this id now; None when there is none."""
    begun = started(pid)
    return None if begun is None else Identity(pid, begun, boot_id())


def is_alive(process: Identity) -> bool:
    """Say whether this very process still runs."""
    return identify(process.pid) == process


def is_running(pid: int) -> bool:
    """Say whether process `pid` is there and no zombie."""
    return started(pid) is not None


def all_pids() -> list[int]:
    """Return the ids of all processes; none where there is no /proc."""
    try:
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return []


def command_line(pid: int) -> str:
    """Return the command of a process with its arguments; empty when it is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def environment(pid: int) -> dict[bytes, bytes]:
    """Return the environment that a process was started with; empty when it is gone or another user's."""
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(pair.split(b"=", 1) for pair in pairs if b"=" in pair)


def parent_of(pid: int) -> int | None:
    """Return the parent of process `pid`; None when there is no such process."""
    try:
        return int(_stat(pid)[_PARENT])
    except (OSError, IndexError, ValueError):
        return None


def descendants(of: int) -> set[int]:
    """Return all processes below `of`, zombies included. A snapshot: a process forked meanwhile is seen by the next call."""
    parents = {pid: parent_of(pid) for pid in all_pids()}
    found: set[int] = set()
    generation = {of}
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation} - found
        found |= generation
    return found


def die_with_parent(with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to send this process `with_signal` as soon as its parent is gone; fit for `preexec_fn`.

    A parent that died before the call goes unnoticed: the caller compares `os.getppid()`. Elsewhere than on Linux nothing is done.
    """
    _prctl(_PR_SET_PDEATHSIG, with_signal)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none can escape `end_descendants`."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None and _LIBC.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


def end_descendants(limit: float = 9.0) -> bool:
    """End every descendant of this process with SIGKILL, and reap them. They have nothing to put in order: a file is whole or partial.

    Returns:
        Whether all were gone within `limit` seconds. A process stuck in the kernel can't be killed, and is left to the caller.
    """
    begin = time.monotonic()
    while True:
        kill(descendants(os.getpid()))
        if _reaped_all():
            return True
        if time.monotonic() - begin > limit:
            return False
        time.sleep(0.02)


def kill(pids: Iterable[int]) -> None:
    """Send SIGKILL to all of these that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _reaped_all() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False
