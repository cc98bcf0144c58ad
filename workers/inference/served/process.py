"""Starts one server in a session of its own, asks for its health, and ends it with all that it started."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from workers import processes
from workers.file_permissions import UMASK
from workers.inference.served.program import Program, Served
from workers.redaction import redact

MARK = "TWEETMILL_SERVED_BY"
"""In the environment of a server and of what it starts: the process id of its worker."""

_LARGEST_LOG = 16 * 2**20
_LAST_WORDS = 1 << 16  # bytes
_LONGEST_LINE = 300


@dataclass(frozen=True)
class Address:
    """Where a server is asked.

    Attributes:
        url: with its version.
        socket: the Unix socket that it listens on; None: it is at the URL's own place.
        key: that it asks for.
        number: of this start, so that whoever asks notices another.
    """

    url: str
    socket: str | None
    key: str
    number: int

    def message(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class ServerProcess:
    """A server that was started, whether or not it serves yet.

    Args:
        program: what it is.
        served: with which base.
        place: of the device, for the names of its files.
        number: of this start.
        folder: of sockets.
        log: what it writes is appended here.
        environment: of it, without its key.
        locks: open locks of its GPU, which it keeps for as long as it lives.

    Raises:
        OSError: it can't be started.
    """

    def __init__(
        self,
        program: Program,
        served: Served,
        place: str,
        number: int,
        folder: Path,
        log: Path,
        environment: Mapping[str, str],
        locks: tuple[int, ...],
    ) -> None:
        self._program = program
        key = secrets.token_urlsafe(32)
        listens = folder / f"{place}-{number}.sock"
        port = 0 if program.on_socket else _free_port()
        host = "served" if program.on_socket else f"127.0.0.1:{port}"
        self.address = Address(f"http://{host}/v1", str(listens) if program.on_socket else None, key, number)
        self._health = httpx.URL(f"http://{host}{program.health}")
        self._log = log
        output = _opened(log)
        try:
            self._log_begins = os.fstat(output).st_size
            self._process = subprocess.Popen(
                program.started(served, listens, port),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**program.environment, **environment, **program.fixed, program.key_variable: key},
                start_new_session=True,
                pass_fds=locks,
                umask=UMASK,
                preexec_fn=processes.die_with_parent,
            )
        finally:
            os.close(output)
        transport = httpx.HTTPTransport(uds=self.address.socket) if program.on_socket else httpx.HTTPTransport()
        self._client = httpx.Client(transport=transport)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    def ended(self) -> str | None:
        """Return how the server ended, in words; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def is_healthy(self, within: float) -> bool:
        """Return whether it answers that it serves, within so many seconds."""
        try:
            return self._client.get(self._health, timeout=within).status_code == 200
        except httpx.HTTPError:
            return False

    def log(self) -> str:
        """Return the end of what it wrote since it was started."""
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_begins, size - _LAST_WORDS))
                return log.read(_LAST_WORDS).decode(errors="replace")
        except OSError:
            return ""

    def last_line(self) -> str:
        """Return the last line that it wrote, without secrets. It may quote a request: for servers that have had none."""
        lines = [line.strip() for line in self.log().splitlines() if line.strip()]
        return redact(lines[-1])[:_LONGEST_LINE] if lines else "(nothing)"

    def stop(self, patience: float) -> None:
        """End it with SIGTERM, after `patience` seconds with SIGKILL, and all that it had started."""
        below = {pid: processes.identify(pid) for pid in processes.descendants(self.pid)}
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience)
        below |= {pid: processes.identify(pid) for pid in processes.descendants(self.pid)}
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid, one in below.items():
            if one is not None and processes.is_alive(one):
                processes.kill([pid])
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._client.close()
        if self.address.socket is not None:
            Path(self.address.socket).unlink(missing_ok=True)


def sweep(worker: int) -> None:
    """End what servers of this worker left behind whose supervisor was killed."""
    mark = str(worker).encode()
    processes.kill(pid for pid in processes.all_pids() if processes.environment(pid).get(MARK.encode()) == mark)


def _opened(log: Path) -> int:
    """Open a log to append to it; what is in a large one is put aside first."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > _LARGEST_LOG:
            log.rename(log.with_suffix(".log.1"))
    return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
