"""Defines what a worker's jobs and its supervisor say to each other on the supervisor's socket: JSON, a message a line.

| from | message | meaning |
|---|---|---|
| job | `{"serve": {"folder", "length"}}` | the first line: a server with this base is needed until the connection ends |
| supervisor | `{"waiting": "…"}` | not yet, and why; about once a second |
| supervisor | `{"server": {"url", "socket", "key", "number"}}` | ask this one |
| supervisor | `{"gone": number}` | that one is gone, another is being started |
| supervisor | `{"failed": {"kind", "message"}}` | the last line: there will be none |
| job | `{"suspect": number, "why"}` | that one answers no requests: start it again |
"""

from __future__ import annotations

import json
import select
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from workers.errors import Busy, Unavailable, UserError
from workers.inference.engine import EngineError

BUSY, REFUSED, ENDING, NEVER_SERVED, SERVER_DIED = "busy", "refused", "ending", "never_served", "server_died"

ERRORS: dict[str, type[Exception]] = {
    BUSY: Busy,
    REFUSED: UserError,
    ENDING: Unavailable,
    # The job is not to blame: no request was sent. It waits for another worker, or for this one to be mended.
    NEVER_SERVED: Unavailable,
    # A request may have been what it died of: the job's failures are counted, so that it does not take worker after worker with it.
    SERVER_DIED: EngineError,
}
"""What a job raises for each kind of failure."""


@dataclass(frozen=True)
class Failure:
    """Why there is no server."""

    kind: str
    message: str

    def encoded(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"failed": asdict(self)}

    def error(self) -> Exception:
        """Return what a job raises for it."""
        return ERRORS.get(self.kind, EngineError)(self.message)


class Line:
    """One end of a connection, which sends and receives messages."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self.is_over = False

    def send(self, message: dict[str, Any]) -> None:
        """Send a message. That the other end is gone shows when all that it had said is received."""
        with suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, within: float) -> dict[str, Any] | None:
        """Return the next message; None where none comes within so many seconds, or none will, as `is_over` then says."""
        while b"\n" not in self._received:
            if self.is_over or not select.select([self._connection], [], [], within)[0]:
                return None
            try:
                read = self._connection.recv(1 << 16)
            except OSError:
                read = b""
            if not read:
                self.is_over = True
                return None
            self._received += read
        line, _, self._received = self._received.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
