"""Run a small tweetmill for fault tests: servers of its own, which a test may stop, and workers that do `tests.support.work`."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, text

from deploy.local.home import Home
from deploy.local.servers import Postgres, Server, Valkey
from schemas.payloads import Queue
from tests.support.work import QUEUE
from tests.support.worker_process import WorkerProcess, wait_for
from workers.broker import redis_client
from workers.database import get_engine

LEASE = 4.0  # seconds: what WorkerProcess gives its workers

_TALLY = """
SELECT count(*) FILTER (WHERE state = 'done') AS done, coalesce(sum(failures), 0) AS failures, coalesce(sum(preemptions), 0) AS preemptions,
    (SELECT count(*) FROM job_event WHERE job = ANY(:jobs) AND event = 'claimed') AS starts,
    (SELECT count(*) FROM metric WHERE job = ANY(:jobs)) AS rows
FROM job WHERE id = ANY(:jobs)
"""


@dataclass(frozen=True)
class Tally:
    """What became of some jobs: `lost` ones did not end well; `extra` starts are those beyond one a job."""

    asked: int
    done: int
    starts: int
    rows: int
    failures: int
    preemptions: int

    @property
    def lost(self) -> int:
        return self.asked - self.done

    @property
    def extra(self) -> int:
        return self.starts - self.asked


class Mill:
    """Two servers and some workers in a folder of their own."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.valkey = Valkey(home)
        self.postgres = Postgres(home)
        self.all: list[WorkerProcess] = []
        self._shared: list[WorkerProcess] = []

    @property
    def postgres_socket(self) -> Path:
        """Where Postgres listens."""
        return self.postgres.sockets / ".s.PGSQL.5432"

    @property
    def engine(self) -> Engine:
        """To look into the ledger."""
        return get_engine()

    def redis(self) -> Any:
        """To look into Redis, or to spoil it."""
        return redis_client(self.valkey.url)

    # Workers

    def start(self, count: int = 1, app: str = "tests.support.work:app", queue: Queue = QUEUE, **environment: str) -> list[WorkerProcess]:
        """Start new workers, and wait until they are ready."""
        started = [self._begin(app, queue, **environment) for _ in range(count)]
        for worker in started:
            assert wait_for(worker.is_ready), worker.log
        return started

    def workers(self, count: int) -> list[WorkerProcess]:
        """Workers that tests share: those that earlier tests left alive, and new ones. There are no others."""
        self._shared = [worker for worker in self._shared if is_alive(worker)]
        for worker in self._shared[count:]:
            worker.kill_all()
        self._shared = self._shared[:count]
        self._shared += self.start(count - len(self._shared))
        return list(self._shared)

    def only(self, **environment: str) -> WorkerProcess:
        """A worker with settings of its own, and no other beside it."""
        self.workers(0)
        return self.start(**environment)[0]

    def owner(self, job: uuid.UUID) -> WorkerProcess:
        """The worker that holds a job."""
        name = self.row(job).owner
        return next(worker for worker in self.all if worker.name == name)

    @contextmanager
    def kept(self, count: int, **environment: str) -> Iterator[list[int]]:
        """Workers that are started again when they die, as a supervisor would; the list grows by one at each death."""
        self.workers(0)
        workers = self.start(count, **environment)
        deaths: list[int] = []
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(0.1):
                for place, worker in enumerate(workers):
                    if worker.process.poll() is not None:
                        deaths.append(worker.process.pid)
                        workers[place] = self._begin(**environment)

        keeper = threading.Thread(target=keep, name="keeper")
        keeper.start()
        try:
            yield deaths
        finally:
            ended.set()
            keeper.join()

    def _begin(self, app: str = "tests.support.work:app", queue: Queue = QUEUE, **environment: str) -> WorkerProcess:
        self.all.append(WorkerProcess(f"w{len(self.all)}", queue.value, self.home.logs, app, **environment))
        return self.all[-1]

    def log(self) -> str:
        """The end of every worker's log, for a test that fails."""
        return "\n".join(f"--- {worker.name}\n{worker.log[-3000:]}" for worker in self.all if worker.log_file.exists())

    # Servers

    @contextmanager
    def without(self, server: Server, number: signal.Signals = signal.SIGKILL) -> Iterator[None]:
        """Kill the server at once, and start it again after the block."""
        process = server.process()
        assert process is not None
        process.send_signal(number)
        assert wait_for(lambda: server.process() is None), f"{server.name} does not end"
        try:
            yield
        finally:
            server.start()

    # The ledger

    def row(self, job: uuid.UUID) -> Any:
        """Return the row of a job."""
        with self.engine.connect() as connection:
            return connection.execute(text("SELECT * FROM job WHERE id = :job"), {"job": job}).one()

    def rows(self, jobs: Sequence[uuid.UUID]) -> Sequence[Any]:
        """Return the rows of jobs."""
        with self.engine.connect() as connection:
            return connection.execute(text("SELECT * FROM job WHERE id = ANY(:jobs)"), {"jobs": list(jobs)}).all()

    def attempts_of_rows(self, job: uuid.UUID) -> list[int]:
        """Which attempt wrote each of a job's rows."""
        with self.engine.connect() as connection:
            values = connection.execute(text("SELECT value FROM metric WHERE job = :job ORDER BY step"), {"job": job}).scalars()
            return [int(value) for value in values]

    def events(self, event: str) -> int:
        """How often something happened, to whatever job."""
        with self.engine.connect() as connection:
            return connection.execute(text("SELECT count(*) FROM job_event WHERE event = :event"), {"event": event}).scalar_one()

    def tally(self, jobs: Sequence[uuid.UUID]) -> Tally:
        """Count what became of `jobs`."""
        with self.engine.connect() as connection:
            row = connection.execute(text(_TALLY), {"jobs": list(jobs)}).one()
        return Tally(len(jobs), row.done, row.starts, row.rows, row.failures, row.preemptions)

    def wait_done(self, jobs: Sequence[uuid.UUID], seconds: float = 60) -> Tally:
        """The tally of `jobs` when all are done, or when the time is up."""
        wait_for(lambda: self.tally(jobs).lost == 0, seconds)
        return self.tally(jobs)

    def forget(self) -> None:
        """Remove all jobs and messages; workers stay."""
        with self.engine.begin() as connection:
            for table in ("summary", "job", "worker"):
                connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608
        with self.redis() as client:
            client.delete(QUEUE.value, "unacked", "unacked_index")

    def tidy(self) -> None:
        """End the workers that no other test wants."""
        for worker in self.all:
            if worker not in self._shared and is_alive(worker):
                worker.kill_all()

    def close(self) -> None:
        """End everything."""
        for worker in self.all:
            worker.kill_all()
        self.valkey.stop()
        self.postgres.stop()


def is_alive(worker: WorkerProcess) -> bool:
    """Whether its main process runs."""
    return worker.process.poll() is None


def process_tree(worker: WorkerProcess) -> list[psutil.Process]:
    """Return a worker's main process and its descendants."""
    main = psutil.Process(worker.process.pid)
    return [main, *main.children(recursive=True)]


def send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    """Signal all of them."""
    for process in processes:
        os.kill(process.pid, number)


def seconds_until(condition: Callable[[], bool], limit: float) -> float:
    """How long it takes until `condition` holds; fails after `limit` seconds."""
    begun = time.monotonic()
    assert wait_for(condition, limit), f"not within {limit:g} s"
    return round(time.monotonic() - begun, 2)
