"""What is done with a step that fails: it is told once, tried again ever later, and holds up no other."""

from __future__ import annotations

import errno
import itertools
import os

import pytest

from deploy.local.steps import Steps, undisturbed


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("deploy.local.steps.time", clock)
    return clock


def test_a_failure_is_told_once_and_tried_again_ever_later(clock: Clock):
    told: list[str] = []
    tries: list[float] = []

    def fail() -> None:
        tries.append(clock.now)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/stack.json")

    steps = Steps(told.append)
    for _ in range(4 * 300):
        steps.attempt("stack.json", fail)
        clock.now += 0.25
    assert told == ["stack.json: /home/stack.json: No space left on device; trying again"]
    waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert waits[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert set(waits[5:]) == {30.0}


def test_another_reason_is_told_and_after_a_success_the_first_one_again(clock: Clock):
    told: list[str] = []
    reasons: list[Exception | None] = [ValueError("one"), ValueError("two"), None, ValueError("one")]

    def step() -> None:
        reason = reasons.pop(0)
        if reason is not None:
            raise reason

    steps = Steps(told.append)
    while reasons:
        steps.attempt("it", step)
        clock.now += 60
    assert told == ["it: one; trying again", "it: two; trying again", "it: one; trying again"]


def test_one_thing_that_fails_holds_up_no_other(clock: Clock):
    steps, done = Steps(lambda _: None), []
    for _ in range(3):
        steps.attempt("bad", lambda: 1 / 0)
        assert steps.attempt("good", lambda: done.append(1))
    assert len(done) == 3


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(errno.ENOSPC, "full"), OSError(errno.EIO, "io"), ValueError("closed file")])
def test_where_nobody_can_be_told_the_work_goes_on(error: Exception):
    tried = []

    def report(message: str) -> None:
        tried.append(message)
        raise error

    told = undisturbed(report)
    told("one")
    told("two")
    assert tried == ["one", "two"], "it is tried again each time"
