"""The gate before a server: half as many when it is busy, nobody while it rests, slowly more again."""

from __future__ import annotations

import threading
import time

import pytest

from workers import clock
from workers.inference.remote.concurrency import Closed, Gate


def test_a_volley_of_refusals_halves_once_and_the_next_one_again() -> None:
    gate = Gate(16)
    sent = clock.now()
    for _ in range(5):
        gate.pushed_back(sent, None)
    assert gate.limit == 8
    gate.pushed_back(clock.now(), None)
    assert gate.limit == 4
    for _ in range(9):
        gate.pushed_back(clock.now(), None)
    assert gate.limit == 1


def test_it_climbs_by_one_a_round_and_never_above_what_is_allowed() -> None:
    gate = Gate(4)
    gate.pushed_back(clock.now(), None)
    assert gate.limit == 2
    climbed = []
    for _ in range(20):
        gate.went_through()
        climbed.append(gate.limit)
    assert climbed[0] == 2
    assert climbed[3] == 3
    assert climbed[-1] == 4


def test_nobody_enters_while_the_server_rests() -> None:
    gate = Gate(2)
    gate.pushed_back(clock.now(), 0.2)
    began = time.monotonic()
    with gate.entered():
        assert time.monotonic() - began >= 0.19


def test_who_waits_at_a_gate_that_is_closed_goes_home() -> None:
    gate = Gate(1)
    gate.pushed_back(clock.now(), 60)
    ended: list[type[BaseException]] = []

    def wait() -> None:
        try:
            with gate.entered():
                pass
        except Closed as closed:
            ended.append(type(closed))

    thread = threading.Thread(target=wait)
    thread.start()
    gate.close()
    thread.join(5)
    assert ended == [Closed]
    with pytest.raises(Closed):
        gate.sleep(60)
