"""Which process it is: its id, and its start in clock ticks since the machine's own start, which setting the clock does not move.

Process ids are used again, and so are ticks after the machine was started anew: the kernel's boot id tells its starts apart. It imports
nothing of ours and no torch: whoever asks may be about to fork.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

_STARTED = 19  # the 22nd field of `stat`, counted from the one behind the command


@dataclass(frozen=True)
class Identity:
    """A process, for ever."""

    pid: int
    started: int
    boot: str


def boot_id() -> str:
    """The machine's name for its last start: one for it and all of its containers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return os.uname().nodename


def started(pid: int) -> int | None:
    """When process `pid` started; None when it is gone or a zombie, which holds nothing and waits for its parent alone."""
    if sys.platform != "linux":
        return _started_elsewhere(pid)
    try:
        # The command, in parentheses, may itself hold spaces and parentheses: count from the last one.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in b"ZX" else int(fields[_STARTED])
    except (OSError, IndexError, ValueError):
        return None


def _started_elsewhere(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 100)
    except psutil.Error:
        return None


def identify(pid: int) -> Identity | None:
    """The process that has this id now; None when there is none."""
    begun = started(pid)
    return None if begun is None else Identity(pid, begun, boot_id())


def is_alive(process: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(process.pid) == process
