"""What the supervisor does with what fails: it tells once, waits ever longer, and goes on."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from pathlib import Path

import pytest

from deploy import supervisor
from deploy.home import Home
from deploy.processes import Kept
from deploy.supervisor import Steps, undisturbed


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(supervisor, "time", clock)
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
    def report(message: str) -> None:
        raise error

    undisturbed(report)("anything")


def kept(tmp_path: Path, *command: str) -> Kept:
    log, record = tmp_path / "logs" / "x.log", tmp_path / "run" / "x.json"
    return Kept(name="x", command=command, environment={"PATH": os.environ["PATH"]}, folder=tmp_path, log=log, record=record)


def test_a_program_that_cannot_be_started_is_tried_again_later(tmp_path: Path):
    process = kept(tmp_path, str(tmp_path / "no-such-program"))
    with pytest.raises(FileNotFoundError):
        process.keep()
    assert process.restarts == 1
    assert process.keep() is False, "its time has not come"


def test_without_a_log_or_a_record_a_program_runs_all_the_same(tmp_path: Path):
    process = kept(tmp_path, sys.executable, "-c", "print('to nobody')")
    assert process.keep()
    with pytest.raises(OSError, match="No such file"):
        process.write_down()
    assert process.process is not None
    assert process.process.wait(30) == 0
    assert process.keep(), "its end was noticed, though no record could be removed"


@pytest.mark.parametrize("content", ["", "x", "-1", "1e9", "9" * 5000, "\u0663", "[1]", "nan"])
def test_a_wish_that_is_no_small_number_ends_nothing(content: str, tmp_path: Path):
    home = Home(tmp_path)
    home.prepare()
    (home.run / "wish").write_text(content)
    wish = home.take_wish()
    assert wish is None or wish <= 64
    assert not (home.run / "wish").exists()


@pytest.mark.parametrize(
    "content",
    [
        *(
            "",
            "null",
            "5",
            "[]",
            '"x"',
            "{",
            "[" * 100_000,
            '{"settings": 5}',
            '{"processes": 5}',
            '{"processes": [1]}',
            '{"workers": "x"}',
        ),
        '{"processes": [{"name": "worker1", "pid": "x", "restarts": 0, "left": false}]}',
        '{"processes": [{"name": "worker1"}]}',
    ],
)
def test_a_stack_file_that_holds_anything_says_nothing(content: str, tmp_path: Path):
    home = Home(tmp_path)
    (tmp_path / "stack.json").write_text(content)
    assert home.read_stack() == {}
