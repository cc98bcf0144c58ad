"""Asks the supervisor of this worker for a server, and hears what becomes of it while it is used."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from workers.errors import Unavailable
from workers.inference.served import sockets
from workers.inference.served.process import Address
from workers.inference.served.program import Served
from workers.inference.served.wire import Failure, Line

_LOOK_EVERY = 0.5
_STARTS_WITHIN = 60.0  # seconds for the supervisor itself, which on a busy machine may need some for its imports


class ServerGone(Exception):
    """The server that was asked is gone; another is being started, or will be."""


class Lease:
    """A server with one base, needed until this is closed.

    Args:
        home: of the worker.
        served: the base.

    Raises:
        Unavailable: this worker has no supervisor any more.
    """

    def __init__(self, home: Path, served: Served) -> None:
        self._line = Line(_connected(home))
        self._next: Address | None = None  # told of while another was used
        self._line.send({"serve": asdict(served)})

    def server(self, on_wait: Callable[[str], None]) -> Address:
        """Return where the server is, once it serves; `on_wait` is told why it does not yet, a few times a second.

        Raises:
            Busy: it needs a GPU that is held, or all servers are at work with other bases.
            UserError: it can't serve this base.
            Unavailable: it never served, or the worker is leaving.
            EngineError: it died again and again, at work.
        """
        waiting = ""
        if self._next is not None:
            address, self._next = self._next, None
            return address
        while True:
            message = self._line.receive(_LOOK_EVERY) or {}
            if "server" in message:
                return Address(**message["server"])
            self._raise_for(message)
            waiting = message.get("waiting", waiting)
            on_wait(waiting)

    def check(self) -> None:
        """Make sure that the server that was got is there still.

        Raises:
            ServerGone: it is not.
            Unavailable, EngineError: nor will there be another.
        """
        while (message := self._line.receive(0)) is not None:
            if "server" in message:  # so quickly that nobody was told that the one before is gone
                self._next = Address(**message["server"])
            if "gone" in message or "server" in message:
                raise ServerGone
            self._raise_for(message)
        self._raise_for({})

    def suspect(self, number: int, why: str) -> None:
        """Have the server started again, since it answers nothing."""
        self._line.send({"suspect": number, "why": why})

    def close(self) -> None:
        """Let go of it."""
        self._line.close()

    def _raise_for(self, message: dict[str, object]) -> None:
        failed = message.get("failed")
        if isinstance(failed, dict):
            raise Failure(**failed).error()
        if self._line.is_over:
            raise Unavailable("the supervisor of this worker's servers is gone: the worker ends, and the job goes back")


def _connected(home: Path) -> socket.socket:
    # Jobs run in a process of the worker's pool, or with other pools in the worker's own.
    folders = [sockets.folder_of(home, worker) for worker in (os.getppid(), os.getpid())]
    until = time.monotonic() + _STARTS_WITHIN
    while True:
        is_starting = False
        for folder in folders:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(folder / sockets.CONTROL))
            except OSError as error:
                connection.close()
                is_starting |= isinstance(error, FileNotFoundError) and folder.is_dir()
            else:
                return connection
        if not is_starting or time.monotonic() > until:
            break
        time.sleep(_LOOK_EVERY)
    raise Unavailable("this worker has no supervisor of servers: it is starting or leaving. Start workers by `tweetmill worker --engine`")
