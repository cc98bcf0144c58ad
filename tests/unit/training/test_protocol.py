"""The files between launcher, supervisor and ranks: never half read, and the first failure is the one that counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from schemas.training import TrainingSpec
from workers.training.launcher.launch import log_tail
from workers.training.launcher.supervisor import Watchdog
from workers.training.protocol.outcome import Failure, read_failure, record_failure
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import PROGRESS_FILE, Done, Event, ProgressReader, ProgressWriter, Step, Tokenizing

TOKENIZING = Tokenizing(examples_tokenized=512, share_read=0.5)
STEP = Step(step=1, loss=2.5, tokens_per_second=100.0, eta_seconds=9.0, learning_rate=1e-4)


def test_events_are_read_once_and_in_order(tmp_path: Path) -> None:
    reader, writer = ProgressReader(tmp_path), ProgressWriter(tmp_path)

    assert reader.read() == []
    writer.write(STEP)
    assert reader.read() == [STEP]
    writer.write(Done())
    assert reader.read() == [Done()]
    assert reader.read() == []


def test_a_line_still_being_written_waits(tmp_path: Path) -> None:
    reader, path = ProgressReader(tmp_path), tmp_path / PROGRESS_FILE
    line = STEP.model_dump_json().encode()

    path.write_bytes(line + b"\n" + line[:10])
    assert reader.read() == [STEP]
    path.write_bytes(line + b"\n" + line + b"\n")
    assert reader.read() == [STEP]


def test_the_first_failure_is_kept(tmp_path: Path) -> None:
    record_failure(tmp_path, Failure(kind="oom", message="out of memory"))
    record_failure(tmp_path, Failure(kind="crash", message="lost a peer"))

    assert read_failure(tmp_path) == Failure(kind="oom", message="out of memory")


def test_ranks_that_died_without_a_word_have_no_failure(tmp_path: Path) -> None:
    assert read_failure(tmp_path) is None


def test_a_payload_survives_its_file(tmp_path: Path) -> None:
    run = RunPayload(spec=TrainingSpec(name="x", base="b", dataset="d"), train_file=tmp_path / "t", run_folder=tmp_path)

    assert RunPayload.read(run.write()) == run


def test_the_first_step_may_take_five_times_as_long(tmp_path: Path) -> None:
    progress = tmp_path / PROGRESS_FILE
    watch = Watchdog(progress, timeout=0.05)
    assert not watch.is_stalled()

    progress.write_text("start\n")
    assert not watch.is_stalled()
    time.sleep(0.1)
    assert not watch.is_stalled()
    time.sleep(0.2)
    assert watch.is_stalled()


def test_a_long_tokenization_counts_as_life_and_as_no_step(tmp_path: Path) -> None:
    writer, watch = ProgressWriter(tmp_path), Watchdog(tmp_path / PROGRESS_FILE, timeout=0.2)

    for _ in range(3):
        writer.write(TOKENIZING)
        assert not watch.is_stalled()
        time.sleep(0.25)  # longer than between two steps, and shorter than before the first

    assert not watch.is_stalled()


def a_line_of(event: Event) -> str:
    return event.model_dump_json() + "\n"


def test_a_later_step_may_not(tmp_path: Path) -> None:
    progress = tmp_path / PROGRESS_FILE
    progress.write_text(a_line_of(TOKENIZING) + a_line_of(STEP))
    watch = Watchdog(progress, timeout=0.05)

    assert not watch.is_stalled()
    time.sleep(0.1)
    assert watch.is_stalled()
    progress.write_text(a_line_of(STEP) * 3)
    assert not watch.is_stalled()


@pytest.mark.fault(28)
def test_a_clock_that_is_set_makes_no_run_stall(tmp_path: Path) -> None:
    progress = tmp_path / PROGRESS_FILE
    progress.write_text("start\nstep\n")
    yesterday = time.time() - 86400
    os.utime(progress, (yesterday, yesterday))

    assert not Watchdog(progress, timeout=60).is_stalled()


def test_the_end_of_a_log_is_what_the_rank_said_and_not_torchruns_report_of_it() -> None:
    agent = "E1126 05:35:47.440 690 torch/distributed/elastic/multiprocessing/api.py:986] failed (exitcode: 70) local_rank: 0 (pid: 730)"
    log = "\n".join(["ValueError: why", agent, "Traceback (most recent call last):", *["  File torchrun"] * 50, "=" * 60])

    assert log_tail(log) == f"ValueError: why\n{agent}"
    assert log_tail("one\ntwo") == "one\ntwo", "a rank that a signal ended leaves no such line"
