"""Limits how many requests are open at a server: half as many each time that it is overloaded, one more after each full round.

This is additive increase, multiplicative decrease (Chiu and Jain, 1989), as in TCP's congestion control.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from workers import clock


class Closed(Exception):
    """The limiter is closed: no request is sent any more."""


class ConcurrencyLimiter:
    """Gives out slots for requests to all threads that ask one server.

    Args:
        most: requests open at once, at most.
        start: how many may be open at first, such as an earlier limiter had come to; None: as many as at most.
    """

    def __init__(self, most: int, start: int | None = None) -> None:
        self._most = most
        self._limit = float(most if start is None else min(start, most))
        self._open = 0
        self._passed = 0
        self._not_before = 0.0
        self._lowered_at = float("-inf")
        self._closed = False
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Return how many requests may be open now; at least one."""
        return max(1, int(self._limit))

    @property
    def passed(self) -> int:
        """Return how many requests succeeded so far: while the number grows, the server is busy and not broken."""
        return self._passed

    @contextmanager
    def slot(self) -> Iterator[float]:
        """Wait for a slot and hold it for the block; yield the moment of `clock.now` at which it was given.

        Raises:
            Closed: the limiter was closed.
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

    def record_success(self) -> None:
        """Note that the server took a request. After as many as may be open now, one more may be."""
        with self._changed:
            self._passed += 1
            self._limit = min(float(self._most), self._limit + 1.0 / self._limit)
            self._changed.notify_all()

    def back_off(self, began: float, rest: float | None) -> None:
        """Halve the limit, since the server is overloaded, and send nothing for `rest` seconds if it says so.

        A request that was sent before the last halving changes nothing, so that many refusals at once halve the limit once.

        Args:
            began: when the refused request was sent, as `slot` yielded.
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
        """Wait.

        Raises:
            Closed: the limiter was closed meanwhile.
        """
        until = clock.now() + seconds
        with self._changed:
            while not self._closed and (rest := until - clock.now()) > 0:
                self._changed.wait(rest)
            if self._closed:
                raise Closed

    def close(self) -> None:
        """Give out no more slots, and wake the threads that wait for one."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
