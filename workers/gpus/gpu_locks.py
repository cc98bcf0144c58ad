"""Locks GPUs, so that each is used by one training or one engine at a time: a lock a device, released when its last process is gone.

A lock is a file with `flock` on it. The kernel drops it with the last open copy, so a SIGKILL leaves nothing to clean up, and a file
that merely lies there locks nothing. To take a device is to lock its file exclusively, which fails while another process holds any lock
on it; then the lock becomes a shared one. Each rank takes a shared lock of its own (`join`): torchrun closes what its children would
inherit, and a rank that is still giving its memory back must keep the device from the next training even when its parents are gone.

Who wants several devices takes all of them or none, and one process chooses at a time, so that two never wait for each other.
A training that lacks devices asks warm engines for theirs (`is_wanted`), as many as it lacks and only where that is enough. An engine
that lacks one asks as well (`is_awaited`); then engines leave that have nothing to do.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from workers.errors import Busy
from workers.file_permissions import make_private
from workers.gpus import driver
from workers.processes import boot_id

Use = Literal["training", "engine"]

ENGINE_LEAVES_WITHIN = 60.0
"""Seconds that a training waits, beyond its patience, for engines that it asked to leave: a batch under way is finished first."""

WANTED_FOR = 30.0
"""Seconds after its last request that a device is kept for a training: longer than the pause before a job is tried again."""

AWAITED_FOR = 5.0
"""Seconds after its last request that another engine counts as waiting: it asks ten times a second for as long as it does."""

_POLL_SECONDS = 0.1
_ASK_DRIVER_EVERY = 1.0


@dataclass(frozen=True)
class Held:
    """Devices that are held.

    Attributes:
        devices: their names, in the order of the request.
        locks: the open locks, to be handed to a child with `pass_fds`.
        files: the lock files, for `join`.
    """

    devices: tuple[str, ...] = ()
    locks: tuple[int, ...] = ()
    files: tuple[Path, ...] = ()


def lock_folder(locks: Path) -> Path:
    """Return the folder of the locks of this machine: `<locks>/<boot id>`, where `locks` is the setting `TWEETMILL_LOCKS`.

    `/run/lock` and `/tmp` are other folders in every container and under systemd's PrivateTmp, so a folder of ours is named that all
    workers of a machine agree on. Nodes may share it, though, and number their GPUs alike: hence the kernel's boot id, which
    is one for a machine and all of its containers. Containers that share a GPU and no folder do not see each other's locks.
    """
    return locks / boot_id()


def lock_file(folder: Path, device: str) -> Path:
    """Return the lock file of one device."""
    return folder / f"gpu-{device.replace('/', '_')}.lock"


@contextmanager
def held(
    devices: Sequence[str],
    folder: Path,
    patience: float,
    *,
    count: int | None = None,
    job: str = "",
    use: Use = "training",
    on_wait: Callable[[], None] = lambda: None,
) -> Iterator[Held]:
    """Hold `count` of these devices for the block, and beyond it for as long as a process lives that inherited the locks or joined them.

    Args:
        devices: names as `visible_gpus` gives them, in the order of preference.
        folder: where the locks lie, the same for all that share the devices.
        patience: seconds to wait while too few are free.
        count: how many; None: all.
        job: on whose behalf; shown to others that want the device.
        use: what for. A training asks engines to leave; an engine takes no device that a training asked for.
        on_wait: called again and again during the wait; what it raises ends the wait.

    Raises:
        Busy: naming a device and who has it. Nothing is held then.
    """
    wanted = list(dict.fromkeys(devices))
    count = len(wanted) if count is None else min(count, len(wanted))
    if count == 0:
        yield Held()
        return
    make_private(folder)
    choice = _Choice(wanted, count, folder, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "job": job, "use": use}), use)
    began = time.monotonic()
    with ExitStack() as opened:
        while not choice.take(opened):
            waited = time.monotonic() - began
            if waited >= patience and not (choice.has_asked and waited < patience + ENGINE_LEAVES_WITHIN):
                raise Busy(choice.complaint())
            on_wait()
            time.sleep(_POLL_SECONDS)
        yield Held(tuple(choice.locks), tuple(choice.locks.values()), tuple(lock_file(folder, device) for device in choice.locks))


@dataclass
class _Choice:
    """Chooses free devices, round by round."""

    devices: list[str]
    count: int
    folder: Path
    signature: str
    use: Use
    locks: dict[str, int] = field(default_factory=dict)
    has_asked: bool = False
    """Whether engines were asked to leave."""
    _refused: dict[str, str] = field(default_factory=dict)
    _computing: dict[str, int] = field(default_factory=dict)
    _looked: float = float("-inf")

    def take(self, kept: ExitStack) -> bool:
        """Lock as many devices as are wanted, until `kept` is closed, or none; say whether it was done."""
        if time.monotonic() - self._looked >= _ASK_DRIVER_EVERY:
            self._computing, self._looked = driver.computing(self.devices), time.monotonic()
        self.locks, self._refused, engines = {}, {}, []
        with ExitStack() as opened, _alone(self.folder):
            for device in self.devices:
                if len(self.locks) == self.count:
                    break
                if self._try(device, opened):
                    engines.append(device)
            if len(self.locks) == self.count:
                self._sign()
                kept.push(opened.pop_all())
                return True
        lacking = self.count - len(self.locks)
        if len(engines) >= lacking:
            self._ask(engines, lacking)
        return False

    def _ask(self, engines: Sequence[str], lacking: int) -> None:
        if self.use == "engine":
            for device in engines:  # all: nobody knows here which of them have nothing to do
                _awaited_file(self.folder, device).touch()
            return
        self.has_asked = True
        # Those that are free as well, or an engine would take them meanwhile.
        for device in (*self.locks, *engines[:lacking]):
            _wanted_file(self.folder, device).touch()

    def _sign(self) -> None:
        for device, lock in self.locks.items():
            os.ftruncate(lock, 0)
            os.pwrite(lock, self.signature.encode(), 0)
            for asked in (_wanted_file(self.folder, device), _awaited_file(self.folder, device)):
                asked.unlink(missing_ok=True)

    def _try(self, device: str, opened: ExitStack) -> bool:
        """Lock a device if it is free; return whether an engine has it."""
        if self.use == "engine" and is_wanted(self.folder, device):
            self._refused[device] = "is wanted by a training"
            return False
        lock = os.open(lock_file(self.folder, device), os.O_RDWR | os.O_CREAT, 0o600)
        with ExitStack() as aside:
            aside.callback(os.close, lock)  # closed, never unlocked: that would take it from those who inherited it
            if not _taken(lock):
                self._refused[device], is_engine = _holder(lock)
                return is_engine
            if device in self._computing:
                # Every process of ours that computes holds the lock, so this one is none of ours.
                self._refused[device] = f"is in use by process {self._computing[device]}, which tweetmill did not start"
                return False
            self.locks[device] = lock
            opened.push(aside.pop_all())
        return False

    def complaint(self) -> str:
        """Return why there are too few, by the first device that is not free."""
        device, why = next(iter(self._refused.items()))
        numbers = f"{len(self.devices) - len(self._refused)} of {self.count} GPUs are free: " if self.count > 1 else ""
        return f"{numbers}GPU {device} {why}. The job waits; `--gpu` gives each worker devices of its own"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process choose at a time. It takes milliseconds, so that nobody waits for long."""
    choosing = os.open(folder / "choosing.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(choosing, fcntl.LOCK_EX)
        yield
    finally:
        os.close(choosing)


def _taken(lock: int) -> bool:
    """Lock exclusively, then share. Between the two it is free for a moment, in which nobody else chooses."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: int) -> tuple[str, bool]:
    """Return who holds a device, in words, and whether it is an engine."""
    try:
        signed = json.loads(os.pread(lock, 1000, 0))
        place = "" if signed.get("host") == socket.gethostname() else f" on {signed['host']}"
        if signed.get("use") == "engine":
            return f"is held by the warm engine of process {int(signed['pid'])}{place}", True
        return f"is held by process {int(signed['pid'])}{place}, job {signed['job'] or 'unknown'}", False
    except (ValueError, KeyError, TypeError, AttributeError):
        return "is held by another training", False


def is_wanted(folder: Path, device: str) -> bool:
    """Return whether a training asked for this device within the last `WANTED_FOR` seconds: an engine leaves it then."""
    return _asked_within(_wanted_file(folder, device), WANTED_FOR)


def is_awaited(folder: Path, device: str) -> bool:
    """Return whether another engine waits for this device: one that has nothing to do leaves it then."""
    return _asked_within(_awaited_file(folder, device), AWAITED_FOR)


def _asked_within(file: Path, seconds: float) -> bool:
    try:
        return time.time() - file.stat().st_mtime < seconds
    except OSError:
        return False


def _wanted_file(folder: Path, device: str) -> Path:
    return lock_file(folder, device).with_suffix(".wanted")


def _awaited_file(folder: Path, device: str) -> Path:
    return lock_file(folder, device).with_suffix(".awaited")


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
            raise Busy(f"{file.stem} is being taken by another training: this one has ended") from None
