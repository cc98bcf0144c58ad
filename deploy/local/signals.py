"""What signals do while the stack is started and stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from workers.errors import Unavailable

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end a stack: all of it, in order."""


@contextmanager
def ended_by_signals() -> Iterator[Callable[[], None]]:
    """Let what asks a process to end raise an error, so that what was started is stopped.

    Yields:
        What raises it once more: a library that was at work when the signal came may have caught the first one.
    """
    came: list[int] = []

    def check() -> None:
        if came:
            raise Unavailable(f"ended by {signal.Signals(came[0]).name} before the stack was up")

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        came.append(number)
        check()

    with _handled({number: leave for number in SIGNALS if number != signal.SIGINT and signal.getsignal(number) is not signal.SIG_IGN}):
        yield check


@contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore signals while the stack is being stopped."""
    with _handled(dict.fromkeys(SIGNALS, signal.SIG_IGN)):
        yield


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Any]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # nobody else may say what a signal does
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
