"""What the supervisor does where a program can't be started or a file of its home holds nonsense: it goes on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from deploy.local.home import Home
from deploy.local.processes import Kept


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
    process = kept(tmp_path, sys.executable, "-c", "import time; print('to nobody'); time.sleep(60)")
    assert process.keep()
    with pytest.raises(OSError, match="No such file"):
        process.write_down()
    assert process.process is not None
    assert process.process.poll() is None
    process.process.terminate()
    assert process.process.wait(30) == -signal.SIGTERM
    assert process.keep(), "its end was noticed, though no record could be removed"


@pytest.mark.parametrize("content", ["", "x", "-1", "1e9", "9" * 5000, "\u0663", "[1]", "nan"])
def test_a_wish_that_is_no_small_number_ends_nothing(content: str, tmp_path: Path):
    home = Home(tmp_path)
    home.prepare()
    (home.run / "wish").write_text(content)
    wish = home.take_requested_workers()
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
