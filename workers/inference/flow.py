"""Work for threads, drawn one piece at a time and handed back as it comes, so that memory does not grow with the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from workers import clock
from workers.inference.gate import Gate

T = TypeVar("T")
R = TypeVar("R")

_LOOK_EVERY = 0.25  # seconds


def as_they_come(
    work: Callable[[T], R], items: Iterable[T], gate: Gate, most: int, tick: Callable[[], None] = lambda: None, grace: float = 0.0
) -> Iterator[list[tuple[int, R]]]:
    """What `work` makes of each item, with its place, in the order in which the pieces get done; those done together come together.

    Nothing is drawn from `items` before there is room for it: as many as the gate lets through are under way.

    Args:
        work: runs in threads.
        items: drawn in the caller's thread, which may stop them at any time.
        gate: closed once the work fails or the caller leaves.
        most: threads.
        tick: called a few times a second; what it raises ends the work.
        grace: seconds that what is under way is still waited for after a failure, and handed back.

    Raises:
        Exception: the first that `work` or `tick` raised, after what else got done.
    """
    failure: BaseException | None = None
    until = math.inf
    numbered = enumerate(items)
    pending: dict[Future[R], int] = {}
    pool = ThreadPoolExecutor(most, thread_name_prefix="asking")
    try:
        more = True
        while True:
            while more and failure is None and len(pending) < gate.limit:
                following = next(numbered, None)
                if following is None:
                    more = False
                else:
                    pending[pool.submit(work, following[1])] = following[0]
            if not pending or clock.now() > until:
                break
            ended, _ = wait(pending, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
            done = []
            for future in ended:
                place = pending.pop(future)
                error = future.exception()
                if error is None:
                    done.append((place, future.result()))
                failure = failure or error
            if done:
                yield done
            if failure is None:
                failure = _raised(tick)
            if failure is not None and until == math.inf:
                gate.close()
                until = clock.now() + grace
        if failure is not None:
            raise failure
    finally:
        gate.close()
        pool.shutdown(wait=False, cancel_futures=True)


def _raised(tick: Callable[[], None]) -> BaseException | None:
    try:
        tick()
    except BaseException as error:  # raised again once what is under way has been handed back
        return error
    return None
