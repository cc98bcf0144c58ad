"""What the processes of a load test take: verbs and workers in processes of their own, the servers beside them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import text

from benchmarks.measure import CannotRun
from benchmarks.servers import ROOT, start_worker
from workers.broker import redis_client
from workers.database import transaction
from workers.settings import get_settings

_SERVER = """
SELECT pg_database_size(current_database()) AS size, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS connections
"""


@dataclass(frozen=True)
class Verb:
    """What a verb in a process of its own took."""

    seconds: float
    ended: float
    cpu: float
    peak_mib: float


def verb(*arguments: str) -> Verb:
    """Run a verb of the command line to its end.

    Raises:
        CannotRun: it failed.
    """
    began = time.perf_counter()
    program = "import sys; from producers.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, used = os.wait4(process.pid, 0)
    ended = time.perf_counter()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise CannotRun(f"tweetmill {arguments[0]} failed: {said[-500:]}")
    return Verb(ended - began, ended, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


@contextmanager
def worker(number: int, folder: Path, seconds: str, processes: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with the echo engine, which is not ready yet."""
    echo = {"TWEETMILL_ENGINE": "echo", "TWEETMILL_ECHO_SECONDS": seconds}
    process = start_worker("workers.app", "summarization", folder, processes=processes, name=f"echo{number}", **echo)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def look() -> dict[str, int]:
    """The database's size and how much WAL was written so far, in bytes, and the connections to it."""
    with transaction() as connection:
        return dict(connection.execute(text(_SERVER)).one()._mapping)


class Watch:
    """Looks once a second how many connections Postgres has and how much memory Redis, and keeps the most."""

    def __init__(self) -> None:
        self.connections = 0
        self.redis_mib = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with redis_client(get_settings().broker()) as client:
            while not self._stop.wait(1.0):
                self.connections = max(self.connections, look()["connections"])
                self.redis_mib = max(self.redis_mib, client.info("memory")["used_memory"] / 2**20)


def tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A worker's main process and those below it."""
    main = psutil.Process(process.pid)
    return [main, *main.children(recursive=True)]


def seconds_of(process: subprocess.Popen[bytes]) -> float:
    """Seconds of cores that they took."""
    return sum(times.user + times.system for times in (each.cpu_times() for each in tree(process)))


def peak_mib_of(process: psutil.Process) -> float:
    """The most memory that a process had, in MiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def postgres_seconds() -> float:
    """Seconds of cores that Postgres took so far: its main process, what that has waited for, and those that live."""
    with transaction() as connection:
        backend = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        main = psutil.Process(backend).parent()
        assert main is not None
        own = main.cpu_times()
        live = sum(times.user + times.system for times in (each.cpu_times() for each in main.children()))
    return float(own.user + own.system + own.children_user + own.children_system + live)


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
