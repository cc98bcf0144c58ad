"""The supervisor: `python -m workers.inference.served.main WORKER_PID`, started by a worker's main process with its task on standard input.

It runs a server on each of the worker's GPUs when a job first needs one, and tells the jobs where it is. It ends all of them when the
worker is gone, when it is told to by SIGTERM, and when a server is given up; then its exit code is 1. It imports no torch.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from workers import logs, processes
from workers.inference.served import sockets
from workers.inference.served.program import Served, Task
from workers.inference.served.slot import Slot
from workers.inference.served.wire import BUSY, Failure, Line
from workers.redaction import redact
from workers.settings import get_settings

logger = logging.getLogger(__name__)

DONE, GIVEN_UP = 0, 1

_LOOK_EVERY = 0.2
_TELL_EVERY = 1.0
_LAST_CALL = 2.0  # seconds in which jobs can hear that there is no server any more


class Supervisor:
    """Servers, and the jobs that ask for one."""

    def __init__(self, task: Task, worker: int) -> None:
        self._task = task
        self._worker = worker
        self._ended = threading.Event()
        self._choosing = threading.Lock()
        self.given_up: str | None = None
        self.slots = [Slot(task, place, device, worker, self._give_up) for place, device in enumerate(task.devices or (None,))]

    def run(self) -> int:
        """Serve until `end`, or until a server is given up; return the exit code."""
        control = Path(self._task.sockets) / sockets.CONTROL
        with socket.socket(socket.AF_UNIX) as listening:
            aside = control.with_suffix(".new")  # whoever finds it finds one that listens
            listening.bind(str(aside))
            listening.listen(64)
            aside.rename(control)
            for slot in self.slots:
                slot.start()
            threading.Thread(target=self._accept, args=(listening,), name="accept", daemon=True).start()
            # A signal that another thread takes does not wake this one, and nothing else would tell it that the worker is gone.
            while not self._ended.wait(_LOOK_EVERY) and os.getppid() == self._worker:
                pass
            self._ended.set()
            if self.given_up is not None:
                time.sleep(_LAST_CALL)
            for slot in self.slots:
                slot.end()
            control.unlink(missing_ok=True)
        for slot in self.slots:
            slot.join(self._task.patience.stop + 10)
        return GIVEN_UP if self.given_up is not None else DONE

    def end(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """Stop all servers."""
        self._ended.set()

    def _give_up(self, why: str) -> None:
        self.given_up = why
        logger.error("%s. The worker ends", redact(why))
        self._ended.set()

    def _accept(self, listening: socket.socket) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._attend, args=(connection,), name="job", daemon=True).start()

    def _attend(self, connection: socket.socket) -> None:
        """Tell one job how the server that it needs stands, for as long as it is connected."""
        with contextlib.closing(Line(connection)) as line:
            asked = None
            while asked is None and not line.is_over:
                asked = line.receive(_TELL_EVERY)
            if asked is None:
                return
            slot = self._taken(Served(**asked["serve"]))
            if slot is None:
                line.send(
                    Failure(BUSY, f"every server of this worker is at work with another base than {asked['serve']['folder']}").encoded()
                )
                return
            try:
                _accompany(line, slot)
            finally:
                slot.leave()

    def _taken(self, served: Served) -> Slot | None:
        """Return the slot that has the fewest users of those that serve this base or have none, begun to be used; None: there is none."""
        with self._choosing:
            fitting = [slot for slot in self.slots if slot.served == served or not slot.users]
            if not fitting:
                return None
            best = min(fitting, key=lambda slot: (slot.users, slot.served != served, slot.served is not None))
            best.take(served)
            return best


def _accompany(line: Line, slot: Slot) -> None:
    number: int | None = None
    told = 0.0
    while not line.is_over:
        standing = slot.standing()
        if standing.failure is not None:
            line.send(standing.failure.encoded())
            return
        if standing.address is not None and standing.address.number != number:
            number = standing.address.number
            line.send({"server": standing.address.message()})
        elif standing.address is None and number is not None:
            line.send({"gone": number})
            number = None
        elif standing.address is None and time.monotonic() - told >= _TELL_EVERY:
            told = time.monotonic()
            line.send({"waiting": standing.waiting})
        message = line.receive(_LOOK_EVERY)
        if message is not None and "suspect" in message:
            slot.suspect(int(message["suspect"]), str(message["why"]))


def main(arguments: Sequence[str]) -> int:
    """Supervise for as long as the worker lives."""
    worker = int(arguments[0])
    processes.adopt_orphans()
    processes.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for the worker, which a terminal interrupts as well
    if os.getppid() != worker:
        return DONE
    logs.set_up(get_settings().log_json)
    task = Task.decoded(sys.stdin.read())
    supervisor = Supervisor(task, worker)
    signal.signal(signal.SIGTERM, supervisor.end)
    try:
        return supervisor.run()
    finally:
        processes.end_descendants()
        sockets.discard(Path(task.sockets))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
