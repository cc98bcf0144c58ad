"""Runs work in threads: draws one piece at a time and yields results as they come, so that memory does not grow with the work."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from workers import clock
from workers.inference.remote.concurrency import ConcurrencyLimiter

T = TypeVar("T")
R = TypeVar("R")

_LOOK_EVERY = 0.25  # seconds


class _Threads(Generic[T, R]):
    """Daemon threads: one that hangs in a request must not keep a worker from exiting, as one of an executor would."""

    def __init__(self, work: Callable[[T], R], most: int) -> None:
        self._work = work
        self._most = most
        self._started = 0
        self._pieces: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
        self._ended: SimpleQueue[tuple[int, R | BaseException]] = SimpleQueue()
        self.pending = 0

    def give(self, place: int, item: T) -> None:
        """Queue a piece of work."""
        self.pending += 1
        self._pieces.put((place, item))
        if self._started < min(self._most, self.pending):
            self._started += 1
            threading.Thread(target=self._run, name=f"asking-{self._started}", daemon=True).start()

    def take(self) -> Iterator[tuple[int, R | BaseException]]:
        """Yield what is done; wait a moment for the first."""
        try:
            yield self._ended.get(timeout=_LOOK_EVERY)
            self.pending -= 1
            while True:
                yield self._ended.get_nowait()
                self.pending -= 1
        except Empty:
            return

    def finish(self) -> None:
        """Let the threads end after the pieces that they are at."""
        for _ in range(self._started):
            self._pieces.put(None)

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            place, item = piece
            try:
                self._ended.put((place, self._work(item)))
            except BaseException as error:  # raised again in the caller's thread
                self._ended.put((place, error))


def as_they_come(
    work: Callable[[T], R],
    items: Iterable[T],
    limiter: ConcurrencyLimiter,
    most: int,
    tick: Callable[[], None] = lambda: None,
    grace: float = 0.0,
) -> Iterator[list[tuple[int, R]]]:
    """Yield what `work` returns for each item, with its place, in the order of completion; those done together come together.

    An item is drawn when there is room for it: as many are under way as the limiter allows.

    Args:
        work: runs in threads.
        items: drawn in the caller's thread, which may stop them at any time.
        limiter: closed once the work fails or the caller leaves.
        most: threads.
        tick: called a few times a second; what it raises ends the work.
        grace: seconds that what is under way is still waited for after a failure, and handed back.

    Raises:
        Exception: the first that `work` or `tick` raised, after what else got done.
    """
    failure: BaseException | None = None
    until = math.inf
    numbered = enumerate(items)
    threads = _Threads(work, most)
    try:
        while True:
            while failure is None and threads.pending < limiter.limit and (following := next(numbered, None)):
                threads.give(*following)
            if not threads.pending or clock.now() > until:
                break
            done = []
            for place, result in threads.take():
                if isinstance(result, BaseException):
                    failure = failure or result
                else:
                    done.append((place, result))
            if done:
                yield done
            if failure is None:
                failure = _raised(tick)
            if failure is not None and until == math.inf:
                limiter.close()
                until = clock.now() + grace
        if failure is not None:
            raise failure
    finally:
        limiter.close()
        threads.finish()


def _raised(tick: Callable[[], None]) -> BaseException | None:
    try:
        tick()
    except BaseException as error:  # raised again once what is under way has been handed back
        return error
    return None
