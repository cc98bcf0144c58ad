"""Restart the workers and the producer of a storm when they die, as the supervisor of a stack does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.nemesis.history import History
from tests.nemesis.processes import MARK
from tests.support.worker_process import WorkerProcess

QUEUES = "upkeep,summarization,training"
SEATS = (("w1", "0"), ("w2", "0"), ("w3", "1"))  # two workers share a device
GRACE = 30.0  # seconds that a worker has to leave in, before it is killed as the product's supervisor does it
MAX_FAILURES = "30"  # of work that is not to blame: faults hit it again and again
_BACKOFF = 0.5


@dataclass
class Seat:
    """A worker's place: its name and device stay, processes come and go."""

    name: str
    device: str
    worker: WorkerProcess | None = None
    incarnation: int = 0
    clock_shift: float = 0.0
    not_before: float = 0.0
    leaving_since: float | None = None

    @property
    def label(self) -> str:
        """Name and incarnation, as the history and the processes' marks have it."""
        return f"{self.name}#{self.incarnation}"

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.worker is not None and self.worker.process.poll() is None

    @property
    def ready(self) -> bool:
        """Whether it takes messages, and was not asked to leave."""
        return self.alive and self.worker is not None and self.worker.is_ready() and self.leaving_since is None

    @property
    def pid(self) -> int:
        """The main process."""
        assert self.worker is not None
        return self.worker.process.pid


class Keeper:
    """Keeps three workers running and, between `produce` and `stop_producing`, a producer."""

    def __init__(
        self, name: str, folder: Path, history: History, environment: Callable[[], dict[str, str]], producer: Sequence[str]
    ) -> None:
        self.seats = [Seat(name, device) for name, device in SEATS]
        self.deaths: list[tuple[str, int]] = []
        self.producer: subprocess.Popen[bytes] | None = None
        self.producers = 0
        self._name = name
        self._folder = folder
        self._history = history
        self._environment = environment
        self._producer_command = [sys.executable, "-m", "tests.nemesis.load", *producer]
        self._producing = False
        self._keeping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the workers."""
        self._keeping.set()
        self._thread.start()

    def stop(self) -> None:
        """From now on what dies stays dead."""
        self._keeping.clear()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _keep(self) -> None:
        while self._keeping.is_set():
            with self._lock:
                for seat in self.seats:
                    self._tend(seat)
                self._tend_producer()
            time.sleep(0.1)

    # Workers

    def _tend(self, seat: Seat) -> None:
        now = time.monotonic()
        if seat.alive:
            if seat.leaving_since is not None and now - seat.leaving_since > GRACE:
                self._history.write("worker killed after its grace", worker=seat.label)
                seat.leaving_since = None
                os.kill(seat.pid, signal.SIGKILL)
            return
        if seat.worker is not None:
            code = seat.worker.process.returncode
            self._history.write("worker ended", worker=seat.label, code=code)
            self.deaths.append((seat.label, code))
            seat.worker, seat.leaving_since, seat.not_before = None, None, now + _BACKOFF
        if now >= seat.not_before and self._keeping.is_set():
            self._start_worker(seat)

    def _start_worker(self, seat: Seat) -> None:
        seat.incarnation += 1
        folder = self._folder / "workers" / seat.label.replace("#", "-")
        folder.mkdir(parents=True, exist_ok=True)
        marks = {MARK: f"{self._name}:{seat.label}", "CUDA_VISIBLE_DEVICES": seat.device}
        app = "tests.support.work:app"
        if seat.clock_shift:
            app, marks["TESTS_CLOCK_SHIFT"] = "tests.support.shifted:app", str(seat.clock_shift)
        seat.worker = WorkerProcess(seat.name, QUEUES, folder, app, **self._environment(), **marks)
        self._history.write("worker started", worker=seat.label, pid=seat.pid, device=seat.device, clock_shift=seat.clock_shift)

    def ask_to_leave(self, seat: Seat) -> None:
        """SIGTERM; the next incarnation is started when this one is gone."""
        if seat.alive:
            seat.leaving_since = seat.leaving_since or time.monotonic()
            os.kill(seat.pid, signal.SIGTERM)

    def dismiss(self) -> dict[str, int | None]:
        """Ask all workers to leave, and wait for them; their exit codes, None for one that had to be killed."""
        self.stop()
        for seat in self.seats:
            if seat.alive:
                os.kill(seat.pid, signal.SIGTERM)
        codes: dict[str, int | None] = {}
        for seat in self.seats:
            codes[seat.label] = _left(seat)
            self._history.write("worker dismissed", worker=seat.label, code=codes[seat.label])
        return codes

    # The producer

    def produce(self) -> None:
        """Start the producer, and start it again whenever it is killed."""
        self._producing = True

    def stop_producing(self) -> None:
        """Let the producer finish its batch, and end it."""
        with self._lock:
            self._producing = False
            producer = self.producer
        if producer is not None and producer.poll() is None:
            producer.terminate()
            try:
                producer.wait(timeout=30)
            except subprocess.TimeoutExpired:
                producer.kill()
                producer.wait()

    def _tend_producer(self) -> None:
        if not self._producing or (self.producer is not None and self.producer.poll() is None):
            return
        if self.producer is not None:
            self._history.write("producer ended", code=self.producer.returncode)
        self.producers += 1
        with (self._folder / "producer.log").open("ab") as log:
            self.producer = subprocess.Popen(
                self._producer_command,
                env={**os.environ, **self._environment(), "TWEETMILL_MAX_FAILURES": MAX_FAILURES},
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )


def _left(seat: Seat) -> int | None:
    if seat.worker is None:
        return 0
    try:
        return int(seat.worker.process.wait(timeout=GRACE))
    except subprocess.TimeoutExpired:
        seat.worker.kill_all()
        return None
