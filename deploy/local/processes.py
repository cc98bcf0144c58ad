"""Start, record, find and stop the processes of a stack; restart those that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from workers.file_permissions import UMASK, discard, write_private
from workers.processes import Identity, die_with_parent, identify, is_alive

_HEALTHY_AFTER = 60.0
_LONGEST_BACKOFF = 30.0

# A process is asked politely, then to stop at once, then killed: seconds after the beginning.
STOP_SIGNALS = ((0.0, signal.SIGTERM), (30.0, signal.SIGQUIT), (40.0, signal.SIGKILL))


def find_process(record: Path) -> psutil.Process | None:
    """Return the live process that `record` names; None when it names none, or can't be read."""
    try:
        noted = json.loads(record.read_text())
        named = Identity(int(noted["pid"]), int(noted["started"]), str(noted["boot"]))
        return psutil.Process(named.pid) if is_alive(named) else None
    except (OSError, ValueError, TypeError, LookupError, RecursionError, OverflowError, psutil.Error):
        return None


def note(record: Path, pid: int) -> None:
    """Write down that `pid` runs, for `find_process`. One that has ended already is not noted.

    Raises:
        OSError: it can't be written.
    """
    process = identify(pid)
    if process is not None:
        write_private(record, json.dumps(asdict(process)))


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what a Linux child does before exec: ask for SIGTERM at its parent's death. Elsewhere `tweetmill up` sweeps."""
    if sys.platform != "linux":
        return None

    def ask() -> None:
        die_with_parent(signal.SIGTERM)
        if os.getppid() != parent:  # it died before it could be noticed
            os._exit(1)

    return ask


def spawn(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str],
    folder: Path,
    survives: bool = False,
    keep: Iterable[int] = (),
    user: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own (Ctrl-C is for the supervisor alone) with its output appended to `log`.

    Args:
        command: program and arguments.
        log: a file. One that can't be written to costs the output alone.
        environment: all of it.
        folder: where it runs.
        survives: whether it outlives this process.
        keep: file descriptors that it inherits.
        user: the id of another user, and of a group alike, that it runs as.
    """
    output = _opened(log)
    identity: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
            pass_fds=tuple(keep),
            umask=UMASK,
            preexec_fn=None if survives else _die_with_parent(os.getpid()),
            **identity,
        )
    finally:
        os.close(output)


def _opened(log: Path) -> int:
    try:
        return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def stop(processes: Mapping[str, psutil.Process], report: Callable[[str], None], plan: Sequence[tuple[float, int]] = STOP_SIGNALS) -> None:
    """Stop processes together, each step of `plan` when its time has come; `report` hears who is waited for."""
    left = dict(processes)
    steps = list(plan)
    begun = time.monotonic()
    reported = begun
    while left:
        now = time.monotonic()
        if steps and now - begun >= steps[0][0]:
            _signal(left.values(), steps.pop(0)[1])
        left = {name: process for name, process in left.items() if not _ended(process)}
        if left and now - reported >= 2:
            report(f"waiting for {', '.join(left)} to finish a step ({now - begun:.0f} s)")
            reported = now
        if not steps and now - begun > plan[-1][0] + 10:
            report(f"still there: {', '.join(left)}")
            return
        time.sleep(0.05)


def _signal(processes: Iterable[psutil.Process], number: int) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _ended(process: psutil.Process) -> bool:
    try:
        process.wait(timeout=0)
    except psutil.TimeoutExpired:
        # A zombie is somebody else's to reap.
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    return True


@dataclass
class Kept:
    """A process that is started again when it ends, ever later while it keeps failing.

    One that `may_leave` and ends well was asked to: it stays down until `bring_back`.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    record: Path
    may_leave: bool = False
    has_left: bool = False
    restarts: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _started: float = 0.0
    _not_before: float = 0.0
    _backoff: float = 0.5

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        return self.process.pid if self.process is not None else None

    def keep(self) -> bool:
        """Start the process if it should run and does not; return whether anything changed.

        Raises:
            OSError: it can't be started, or not be noted; the next call tries again when its time has come.
        """
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return False
            self.process = None
            discard(self.record)
            self.has_left = self.may_leave and code == 0
            if not self.has_left:
                self._plan_restart(now)
            return True
        if self.has_left or now < self._not_before:
            return False
        self._started = now
        try:
            self.process = spawn(self.command, self.log, environment=self.environment, folder=self.folder)
        except OSError:
            self._plan_restart(now)
            raise
        return True

    def write_down(self) -> None:
        """Note which process it is, for whoever looks after a crash.

        Raises:
            OSError: it can't be written; the mark in the process's environment serves instead.
        """
        if self.process is not None:
            note(self.record, self.process.pid)

    def bring_back(self) -> None:
        """Have it started again although it left."""
        self.has_left = False
        self._not_before = 0.0

    def _plan_restart(self, now: float) -> None:
        healthy = now - self._started > _HEALTHY_AFTER
        self._backoff = 1.0 if healthy else min(_LONGEST_BACKOFF, self._backoff * 2)
        self._not_before = now + self._backoff
        self.restarts += 1
