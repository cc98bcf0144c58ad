"""A command in a terminal of its own: keys go in as a keyboard sends them, and the screen comes out."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

ROWS, COLUMNS = 32, 100


class Terminal:
    """`tweetmill ARGUMENTS` before a keyboard."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        command = [str(Path(sys.executable).with_name("tweetmill")), *arguments]
        variables = {**os.environ, "TERM": "xterm-256color", **environment}
        self._process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=variables, start_new_session=True)
        os.close(slave)
        self.screen = ""
        """All that was ever written on it."""
        self._reader = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._reader.join(10)
        os.close(self._master)

    def _read(self) -> None:
        while True:
            try:
                got = os.read(self._master, 65536)
            except OSError:  # the other end is closed
                return
            if not got:
                return
            self.screen += got.decode(errors="replace")

    def type(self, keys: str) -> None:
        """Hit these keys."""
        os.write(self._master, keys.encode())

    def wait_for(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until `condition` holds; the screen is in the complaint when it never does."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.screen[-3000:]
            time.sleep(0.01)

    def end(self, seconds: float = 60) -> int:
        """The exit code, once the command has ended by itself."""
        code = self._process.wait(seconds)
        self._reader.join(10)
        return code
