"""Keeps the server of one device running for those who ask it: starts it, looks after it, and starts it again when it dies or hangs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from workers.errors import Busy, TweetmillError
from workers.gpus import driver, gpu_locks
from workers.inference.served.process import MARK, Address, ServerProcess
from workers.inference.served.program import Served, Task
from workers.inference.served.wire import BUSY, ENDING, NEVER_SERVED, REFUSED, SERVER_DIED, Failure
from workers.memory import tells_of_memory

logger = logging.getLogger(__name__)

GPU_PATIENCE = 30.0
"""Seconds to wait for a GPU that is held."""

_OTHER_CPU = "; it was built for a CPU with other instructions than this one: /proc/cpuinfo has their flags"

_YIELD_AFTER = 10.0  # seconds without a user after which another worker that waits for the GPU has it; a server starts slowly

_LONGEST_ANSWER = 5.0  # seconds, to one request for its health


@dataclass(frozen=True)
class Standing:
    """How a slot stands for whoever asks it: there is a server, or none will be, or one is waited for."""

    address: Address | None = None
    failure: Failure | None = None
    waiting: str = ""


@dataclass(frozen=True)
class _End:
    """How a server ended: by itself, for a `cause`, or since it was not needed any more."""

    cause: str = ""
    served: bool = False
    lasted: float = 0.0


class Slot(threading.Thread):
    """One device and its server, which is started when somebody first asks for it.

    Args:
        task: of the supervisor.
        place: among the devices, from 0.
        device: as the driver names it; None: the CPU.
        worker: whose server it is.
        on_given_up: told why the server is given up; the whole supervisor then ends.
    """

    def __init__(self, task: Task, place: int, device: str | None, worker: int, on_given_up: Callable[[str], None]) -> None:
        super().__init__(name=f"slot-{place}", daemon=True)
        self._task, self._place, self._device = task, place, device
        self._worker = worker
        self._on_given_up = on_given_up
        self._where = f"{task.program.name} on {'the CPU' if device is None else f'GPU {device}'}"
        self._short = "cpu" if device is None else f"gpu{place}"
        self._changed = threading.Condition()
        self._standing = Standing()
        self._suspected: tuple[int, str] | None = None
        self._number = 0
        self._used = time.monotonic()
        self._is_ending = False
        self.served: Served | None = None
        self.users = 0

    @property
    def log_file(self) -> Path:
        """Where its servers write."""
        return Path(self._task.logs) / f"{self._task.program.name}-{self._short}.log"

    def take(self, served: Served) -> None:
        """Begin to use the slot, with this base: the caller makes sure that nobody uses it with another."""
        with self._changed:
            if self.users == 0:
                self._standing = replace(self._standing, failure=None)
            if self.served not in (None, served):  # whoever asks now must not hear of the server that still runs
                self._standing = Standing(waiting=f"{self._where} is being started with another base")
            self.served = served
            self.users += 1
            self._changed.notify_all()

    def leave(self) -> None:
        """End the use of it."""
        with self._changed:
            self.users -= 1
            self._used = time.monotonic()
            self._changed.notify_all()

    def standing(self) -> Standing:
        """Return how it stands now."""
        with self._changed:
            return self._standing

    def suspect(self, number: int, why: str) -> None:
        """Have a server started again that answers no requests, if it is still that one."""
        with self._changed:
            self._suspected = (number, why)
            self._changed.notify_all()

    def end(self) -> None:
        """Stop the server, and start none any more."""
        with self._changed:
            self._is_ending = True
            self._standing = Standing(failure=Failure(ENDING, f"{self._where} is being stopped"))
            self._changed.notify_all()

    def run(self) -> None:
        """Serve until `end`, or until the server is given up."""
        while (served := self._next()) is not None:
            try:
                with self._held() as locks:
                    self._keep(served, locks)
            except Busy as error:
                self._fail(Failure(BUSY, str(error)))
            except (TweetmillError, OSError) as error:
                self._give_up(NEVER_SERVED, f"{self._where} can't be started: {error}")

    def _next(self) -> Served | None:
        """Wait until somebody needs a server, and return with which base; None: none is to be started any more."""
        with self._changed:
            while not self._is_ending and (not self.users or self._standing.failure is not None):
                self._changed.wait()
            return None if self._is_ending else self.served

    @contextmanager
    def _held(self) -> Iterator[tuple[int, ...]]:
        """Hold the device, and yield its open locks."""
        devices = () if self._device is None else (self._device,)
        folder = gpu_locks.lock_folder(Path(self._task.locks))
        self._wait_for("is being started" if self._device is None else "waits for its GPU")
        with gpu_locks.held(devices, folder, GPU_PATIENCE, use="engine", on_wait=self._check_ending) as held:
            yield held.locks

    def _check_ending(self) -> None:
        if self._is_ending:
            raise Busy("the worker is leaving")

    def _keep(self, served: Served, locks: tuple[int, ...]) -> None:
        """Run servers, one after the other, until none is needed here with this base, or they are given up."""
        deaths = 0
        patience = self._task.patience
        while True:
            self._number += 1
            server = ServerProcess(
                self._task.program, served, self._short, self._number, self._sockets, self.log_file, self._environment(), locks
            )
            logger.info("%s: started as process %d, its log is %s", self._where, server.pid, self.log_file)
            try:
                ended = self._watch(server, served)
                told = "" if ended.served else server.last_line()
                log = server.log()
            finally:
                self._wait_for("is being started again")
                server.stop(patience.stop)
            if not ended.cause:
                return
            refusal = None if ended.served else self._task.program.refusal(log)
            if refusal is not None:
                self._fail(Failure(REFUSED, f"{self._task.program.name} can't serve {served.folder}: {refusal}"))
                return
            deaths = 1 if ended.lasted >= patience.healthy else deaths + 1
            said = f"; its last line: {told}" if told else ""
            memory = "; memory ran out" if tells_of_memory(log) else _OTHER_CPU if "SIGILL" in ended.cause else ""
            logger.warning("%s: %s (%d in a row)%s", self._where, ended.cause, deaths, said)
            if deaths >= patience.deaths:
                times = (
                    f"{self._where} failed {deaths} times in a row, the last time: {ended.cause}{memory}{said}. Its log is {self.log_file}"
                )
                self._give_up(SERVER_DIED if ended.served else NEVER_SERVED, times)
                return
            if not self._rest(patience.rest(deaths), served):
                return

    def _watch(self, server: ServerProcess, served: Served) -> _End:
        """Look after a server until it ends or must be ended."""
        patience = self._task.patience
        began = answered = reported = time.monotonic()
        serving: float | None = None
        while True:
            if not self._is_needed(served):
                return _End()
            how = server.ended()
            healthy = how is None and server.is_healthy(min(_LONGEST_ANSWER, patience.hang))
            now = time.monotonic()
            if healthy:
                answered = now
                if serving is None:
                    serving = now
                    logger.info("%s: serves after %.0f s", self._where, now - began)
                self._publish(server.address, served)
            lasted = 0.0 if serving is None else now - serving
            if how is not None:
                return _End(f"it ended with {how}", serving is not None, lasted)
            if serving is None and now - began > patience.start:
                return _End(f"it did not serve within {patience.start:g} s (TWEETMILL_SERVER_START)")
            if serving is not None and now - answered > patience.hang:
                return _End(f"it did not answer for {now - answered:.0f} s", True, lasted)
            if (why := self._suspicion(server.address.number)) is not None:
                return _End(f"it answered its health alone: {why}", True, lasted)
            if serving is None:
                self._wait_for(f"loads, for {now - began:.0f} s of at most {patience.start:g}")
                if now - reported >= patience.report:
                    reported = now
                    logger.info("%s: loads, for %.0f s of at most %g", self._where, now - began, patience.start)
            with self._changed:
                self._changed.wait(patience.look)

    def _is_needed(self, served: Served) -> bool:
        """Return whether the server must go on: nobody wants another base, it has users, or neither idles nor is in a training's way."""
        with self._changed:
            if self._is_ending or self.served != served:
                return False
            if self.users or self._device is None:
                return True
            why = self._why_leave(self._device, time.monotonic() - self._used)
            if why:
                logger.info("%s: leaves its GPU: %s", self._where, why)
            return not why

    def _why_leave(self, device: str, idle: float) -> str:
        locks = gpu_locks.lock_folder(Path(self._task.locks))
        if gpu_locks.is_wanted(locks, device):
            return "a training waits for it"
        if idle > _YIELD_AFTER and gpu_locks.is_awaited(locks, device):
            return "another worker waits for it, and there is nothing to do here"
        return "nothing to do" if idle > self._task.patience.idle else ""

    def _suspicion(self, number: int) -> str | None:
        with self._changed:
            suspected, self._suspected = self._suspected, None
        return suspected[1] if suspected is not None and suspected[0] == number else None

    def _rest(self, seconds: float, served: Served) -> bool:
        """Wait; return whether the server is still needed then."""
        until = time.monotonic() + seconds
        with self._changed:
            while (left := until - time.monotonic()) > 0 and not self._is_ending and self.served == served:
                self._changed.wait(left)
            return not self._is_ending and self.served == served and self.users > 0

    @property
    def _sockets(self) -> Path:
        return Path(self._task.sockets)

    def _environment(self) -> dict[str, str]:
        shown = {} if self._device is None else {"CUDA_VISIBLE_DEVICES": driver.cuda_names([self._device])}
        return {**self._task.environment, **shown, MARK: str(self._worker)}

    def _publish(self, address: Address, served: Served) -> None:
        with self._changed:
            if not self._is_ending and self.served == served:
                self._standing = Standing(address)

    def _wait_for(self, what: str) -> None:
        with self._changed:
            if not self._is_ending:
                self._standing = Standing(waiting=f"{self._where} {what}")

    def _fail(self, failure: Failure) -> None:
        logger.warning("%s", failure.message)
        with self._changed:
            if not self._is_ending:
                self._standing = Standing(failure=failure)
            if not self.users:  # nobody hears of it
                self._standing = replace(self._standing, failure=None if not self._is_ending else self._standing.failure)

    def _give_up(self, kind: str, why: str) -> None:
        with self._changed:
            self._is_ending = True
            self._standing = Standing(failure=Failure(kind, why))
        with suppress(Exception):
            self._on_given_up(why)
