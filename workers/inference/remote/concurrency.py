"""How many requests a server gets at once: as many as are allowed, fewer after it said that it is busy, and slowly more again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workers import clock


class Closed(Exception):
    """Nothing is sent any more."""


class Gate:
    """What all threads pass through before they send.

    Args:
        most: requests open at once, at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._open = 0
        self._passed = 0
        self._not_before = 0.0
        self._lowered_at = float("-inf")
        self._closed = False
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """How many may be open now; at least one."""
        return max(1, int(self._limit))

    @property
    def passed(self) -> int:
        """How many went through so far: while it grows, the server is busy and not broken."""
        return self._passed

    @contextmanager
    def entered(self) -> Iterator[float]:
        """Wait for one's turn; the moment of `clock.now` at which it came.

        Raises:
            Closed: nothing is sent any more.
        """
        with self._changed:
            while self._closed or self._open >= self.limit or clock.now() < self._not_before:
                if self._closed:
                    raise Closed
                rest = self._not_before - clock.now()
                self._changed.wait(rest if rest > 0 else None)
            self._open += 1
        try:
            yield clock.now()
        finally:
            with self._changed:
                self._open -= 1
                self._changed.notify_all()

    def went_through(self) -> None:
        """The server took a request: one more may be open after as many as are open now."""
        with self._changed:
            self._passed += 1
            self._limit = min(float(self._most), self._limit + 1.0 / self._limit)
            self._changed.notify_all()

    def pushed_back(self, began: float, rest: float | None) -> None:
        """The server is busy: half as many from now on, and none at all for `rest` seconds, if it says so.

        What was sent before the last halving tells nothing new, so that a volley of refusals halves once.

        Args:
            began: when the refused request was sent, as `entered` told.
            rest: seconds.
        """
        with self._changed:
            if began >= self._lowered_at:
                self._limit = max(1.0, self._limit / 2)
                self._lowered_at = clock.now()
            if rest is not None:
                self._not_before = max(self._not_before, clock.now() + rest)
            self._changed.notify_all()

    def sleep(self, seconds: float) -> None:
        """Wait, unless the gate is closed before.

        Raises:
            Closed: it was.
        """
        until = clock.now() + seconds
        with self._changed:
            while not self._closed and (rest := until - clock.now()) > 0:
                self._changed.wait(rest)
            if self._closed:
                raise Closed

    def close(self) -> None:
        """Let nothing through any more; who waits, stops waiting."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
