"""Hears of SIGTERM and SIGINT, which ask a stream to stop with what it has in hand."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_signals(on_first: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Yield what says whether one of the signals came. The second interrupts at once, as a kill would.

    Args:
        on_first: called when the first came.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        del number, frame
        if asked:
            raise KeyboardInterrupt
        asked = True
        on_first()

    before = {each: signal.signal(each, note) for each in _SIGNALS}
    try:
        yield lambda: asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
