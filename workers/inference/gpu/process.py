"""Starts the process of an engine on a GPU that is held for it, and talks to it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from workers.gpus import driver, gpu_locks
from workers.gpus.environment import for_computing
from workers.inference.engine import EngineError
from workers.inference.gpu import wire

COMMAND = (sys.executable, "-m", "workers.inference.gpu.main")

_LOOK_EVERY = 1.0
_END_LIMIT = 15.0


class EngineProcess:
    """One child process with an engine on one GPU. The child holds the GPU's lock: when it is gone, the GPU is free.

    Args:
        held: the GPU, locked by this process; its copy of the lock may be closed afterwards.
        build: what to load, see `wire`.
        on_wait: called again and again while the engine loads; what it raises ends the child.

    Raises:
        UserError: the base can't be used.
        UnusableDevice: PyTorch can't use the GPU.
        EngineError: the engine can't be built.
    """

    def __init__(self, held: gpu_locks.Held, build: dict[str, Any], on_wait: Callable[[], None]) -> None:
        self.device = held.devices[0]
        self.file = held.files[0]
        self._child = subprocess.Popen(
            COMMAND,
            env={**for_computing(), "CUDA_VISIBLE_DEVICES": driver.cuda_names(held.devices)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=held.locks,
        )
        self._received = b""
        try:
            self.send({"build": build})
            self.receive(0, on_wait)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The child's id."""
        return self._child.pid

    def send(self, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            EngineError: the child is gone.
        """
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(wire.encode(message))
            self._child.stdin.flush()
        except BrokenPipeError:
            raise EngineError(self._end()) from None

    def receive(self, number: int, on_wait: Callable[[], None]) -> dict[str, Any]:
        """Return the next message about request `number`, dropping those about requests that were given up.

        `on_wait` is called once a second until it comes.

        Raises:
            UserError: what was asked for can't be done with these files.
            UnusableDevice: PyTorch can't use the GPU.
            EngineError: it can't be done, or the child is gone.
        """
        while (message := wire.decode(self._line(on_wait))).get("number", 0) != number:
            pass
        failed = message.get("failed")
        if failed is None:
            return message
        if failed["kind"] == wire.CRASH:
            self.close()
        raise wire.FAILURES.get(failed["kind"], EngineError)(failed["message"])

    def _line(self, on_wait: Callable[[], None]) -> bytes:
        assert self._child.stdout is not None
        while b"\n" not in self._received:
            if not select.select([self._child.stdout], [], [], _LOOK_EVERY)[0]:
                on_wait()
                continue
            read = os.read(self._child.stdout.fileno(), 1 << 20)
            if not read:
                raise EngineError(self._end())
            self._received += read
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _end(self) -> str:
        self.close()
        code = self._child.returncode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return f"the engine's process on {self.device} ended with {how}: the worker's log has what it said"

    def is_alive(self) -> bool:
        """Return whether the child runs."""
        return self._child.poll() is None

    def close(self) -> None:
        """End the child, and with it its hold on the GPU. There is nothing to put in order."""
        self._child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_LIMIT)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
