"""The limiter before a server: half as many when it is busy, nobody while it rests, slowly more again."""

from __future__ import annotations

import threading
import time

import pytest

from workers import clock
from workers.inference.remote.concurrency import Closed, ConcurrencyLimiter


def test_a_volley_of_refusals_halves_once_and_the_next_one_again() -> None:
    limiter = ConcurrencyLimiter(16)
    sent = clock.now()
    for _ in range(5):
        limiter.back_off(sent, None)
    assert limiter.limit == 8
    limiter.back_off(clock.now(), None)
    assert limiter.limit == 4
    for _ in range(9):
        limiter.back_off(clock.now(), None)
    assert limiter.limit == 1


def test_it_climbs_by_one_a_round_and_never_above_what_is_allowed() -> None:
    limiter = ConcurrencyLimiter(4)
    limiter.back_off(clock.now(), None)
    assert limiter.limit == 2
    climbed = []
    for _ in range(20):
        limiter.record_success()
        climbed.append(limiter.limit)
    assert climbed[0] == 2
    assert climbed[3] == 3
    assert climbed[-1] == 4


def test_nobody_enters_while_the_server_rests() -> None:
    limiter = ConcurrencyLimiter(2)
    limiter.back_off(clock.now(), 0.2)
    began = time.monotonic()
    with limiter.slot():
        assert time.monotonic() - began >= 0.19


def test_who_waits_at_a_gate_that_is_closed_goes_home() -> None:
    limiter = ConcurrencyLimiter(1)
    limiter.back_off(clock.now(), 60)
    ended: list[type[BaseException]] = []

    def wait() -> None:
        try:
            with limiter.slot():
                pass
        except Closed as closed:
            ended.append(type(closed))

    thread = threading.Thread(target=wait)
    thread.start()
    limiter.close()
    thread.join(5)
    assert ended == [Closed]
    with pytest.raises(Closed):
        limiter.sleep(60)


@pytest.mark.parametrize(("start", "begins_with"), [(None, 8), (3, 3), (99, 8)])
def test_it_begins_where_an_earlier_one_ended_and_never_above_what_is_allowed(start: int | None, begins_with: int) -> None:
    assert ConcurrencyLimiter(8, start).limit == begins_with
