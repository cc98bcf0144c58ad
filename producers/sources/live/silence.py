"""Waits for what others write, and says now and then that nothing came."""

from __future__ import annotations

import time

from workers import clock

_POLL = 0.1  # seconds


class Silence:
    """The time since something came.

    Args:
        idle_seconds: after which it is to be said that nothing came.
    """

    def __init__(self, idle_seconds: float) -> None:
        self._idle = idle_seconds
        self._heard = self._said = clock.now()

    def broken(self) -> None:
        """Note that something came."""
        self._heard = self._said = clock.now()

    @property
    def seconds(self) -> float:
        """For how long nothing came."""
        return clock.now() - self._heard

    def wait(self) -> bool:
        """Wait a moment; return whether it is time to say that nothing came."""
        time.sleep(min(_POLL, self._idle))
        if clock.now() - self._said < self._idle:
            return False
        self._said = clock.now()
        return True
