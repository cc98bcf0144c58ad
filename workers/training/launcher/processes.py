"""Process trees that leave nothing behind: the few Linux calls that the supervisor and the ranks rest on.

torchrun puts each rank in a session of its own, so a signal to the launcher's process group misses it. What reaches all of them is
PR_SET_PDEATHSIG, which asks the kernel for a signal when the parent dies, and PR_SET_CHILD_SUBREAPER, which makes orphans ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from workers.identity import started

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


def die_with_parent(with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to send this process `with_signal` as soon as its parent is gone."""
    _prctl(PR_SET_PDEATHSIG, with_signal)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that none can escape `end_descendants`."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def parent_of(pid: int) -> int | None:
    """The parent of process `pid`, or None when there is no such process."""
    try:
        # The command, in parentheses, may itself hold spaces and parentheses: count from the last one.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def descendants(of: int) -> set[int]:
    """All processes below `of`, zombies included. A snapshot: a process forked meanwhile is seen by the next call."""
    parents = {pid: parent_of(pid) for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())}
    found: set[int] = set()
    generation = {of}
    while generation:
        generation = {pid for pid, parent in parents.items() if parent in generation} - found
        found |= generation
    return found


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


def is_running(pid: int) -> bool:
    """Whether process `pid` is there and no zombie: a zombie holds nothing and waits for its parent alone."""
    return started(pid) is not None


def _reaped_all() -> bool:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False
