"""A GPU is one training's at a time, until the last process of that training is gone."""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ranks import Run, a_spec, alive, write_train_file
from tests.support.tiny_model import build_tiny_model
from tests.support.worker_process import wait_for
from workers.errors import Busy, Unavailable
from workers.gpus import driver, gpu_locks
from workers.processes import command_line, descendants, is_running
from workers.training.launcher import launch
from workers.training.protocol.outcome import TrainingResult

pytestmark = pytest.mark.spread

HOLDER = """
import os, pathlib, subprocess, sys, time
from workers.gpus import gpu_locks
folder, history, names, seconds, count, *rank = sys.argv[1:]
seconds, names = float(seconds), names.split(",")
with gpu_locks.held(names, pathlib.Path(folder), patience=60, count=int(count) or None, job="a-job"):
    with open(history, "a") as out: out.write(f"in {os.getpid()}\\n")
    group = [subprocess.Popen([sys.executable, "-c", *rank], start_new_session=True)] if rank else []
    time.sleep(seconds)
    with open(history, "a") as out: out.write(f"out {os.getpid()}\\n")
"""
RANK = """
import pathlib, sys, time
from workers.gpus import gpu_locks
gpu_locks.join([pathlib.Path(name) for name in sys.argv[2:]])
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process that holds devices for some seconds; ends it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*names: str, seconds: float = 60, count: int = 0, rank: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        arguments = [str(tmp_path / "locks"), str(tmp_path / "history"), ",".join(names), str(seconds), str(count), *rank]
        started.append(subprocess.Popen([sys.executable, "-c", HOLDER, *arguments]))
        return started[-1]

    (tmp_path / "history").touch()
    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def without_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that finds none, wherever the tests run."""
    script = tmp_path / "none" / "nvidia-smi"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho No devices found.\n")
    script.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")


def history(folder: Path) -> list[str]:
    return (folder / "history").read_text().splitlines()


def is_free(folder: Path, *names: str) -> bool:
    try:
        with gpu_locks.held(names, folder / "locks", patience=0):
            return True
    except Unavailable:
        return False


@pytest.mark.fault(38)
def test_two_processes_that_want_one_gpu_have_it_one_after_the_other(holder: Any, tmp_path: Path, measured: Any) -> None:
    workers = [holder("0", seconds=0.2) for _ in range(6)]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 6

    told = [line.split() for line in history(tmp_path)]
    overlaps = sum(1 for (before, _), (after, _) in itertools.pairwise(told) if before == after == "in")
    measured(holders=len(told) // 2, overlaps=overlaps)
    assert overlaps == 0
    assert [pid for word, pid in told if word == "in"] == [pid for word, pid in told if word == "out"]


def test_two_that_want_the_same_gpus_in_another_order_do_not_wait_for_each_other(holder: Any, tmp_path: Path) -> None:
    workers = [holder(*names, seconds=0.05) for _ in range(3) for names in (("0", "1"), ("1", "0"))]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 6
    assert len(history(tmp_path)) == 12


def test_another_gpu_is_free_at_once(holder: Any, tmp_path: Path) -> None:
    holder("0")
    assert wait_for(lambda: bool(history(tmp_path)))
    assert not is_free(tmp_path, "0")
    assert not is_free(tmp_path, "1", "0"), "both or none"
    assert is_free(tmp_path, "1")


def test_any_free_gpus_are_taken_in_order_and_all_or_none(tmp_path: Path) -> None:
    folder, names = tmp_path / "locks", ("0", "1", "2", "3")
    with gpu_locks.held(["0", "2"], folder, patience=0):
        with gpu_locks.held(names, folder, patience=0, count=2) as held:
            assert held.devices == ("1", "3")
            assert held.files == tuple(gpu_locks.lock_file(folder, device) for device in held.devices)
        wanted = gpu_locks.held(names, folder, patience=0, count=3)
        with pytest.raises(Busy, match="2 of 3 GPUs are free: GPU 0 is held by"), wanted:
            pytest.fail("two are held")
        assert is_free(tmp_path, "1", "3"), "none of those that were free is kept"


def test_two_that_want_any_two_of_three_do_not_wait_for_each_other(holder: Any, tmp_path: Path) -> None:
    workers = [holder("0", "1", "2", seconds=0.05, count=2) for _ in range(6)]
    assert [worker.wait(timeout=60) for worker in workers] == [0] * 6
    assert len(history(tmp_path)) == 12


def test_who_waits_in_vain_is_told_who_has_it(holder: Any, tmp_path: Path) -> None:
    process = holder("GPU-8932f937")
    assert wait_for(lambda: bool(history(tmp_path)))
    began = time.monotonic()
    wanted = gpu_locks.held(["GPU-8932f937"], tmp_path / "locks", patience=0.5)
    with pytest.raises(Unavailable, match=f"GPU-8932f937 is held by process {process.pid}, job a-job"), wanted:
        pytest.fail("it was held twice")
    assert 0.4 < time.monotonic() - began < 5


@pytest.mark.fault(38)
def test_a_killed_worker_frees_its_gpu_only_when_its_last_rank_is_gone(holder: Any, tmp_path: Path, measured: Any) -> None:
    lock = gpu_locks.lock_file(tmp_path / "locks", "0")
    process = holder("0", rank=(RANK, str(tmp_path / "rank-runs"), str(lock)))
    assert wait_for((tmp_path / "rank-runs").exists)
    (rank,) = descendants(process.pid)

    process.send_signal(signal.SIGKILL)
    process.wait()
    looks = [is_free(tmp_path, "0") for _ in range(20)]
    os.kill(rank, signal.SIGKILL)
    killed = time.monotonic()
    freed = wait_for(lambda: is_free(tmp_path, "0"), 10)

    measured(overlaps=sum(looks), freed_seconds=round(time.monotonic() - killed, 2))
    assert not any(looks), "a rank was still there"
    assert freed


@pytest.mark.fault(38)
def test_a_training_begins_when_the_last_rank_of_a_killed_one_has_left_the_gpu(
    stack_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: Any
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(launch, "GPU_PATIENCE", 120.0)
    base, train_file = build_tiny_model(tmp_path / "tiny"), write_train_file(tmp_path / "train.jsonl")
    first = Run(a_spec(base, max_steps=100_000), train_file, tmp_path / "first")
    group = first.until_it_steps()
    supervisor, ranks = first.group()["supervisor"][0], first.group()["rank"]
    second = Run(a_spec(base, world_size=1, max_steps=1), train_file, tmp_path / "second")
    time.sleep(1)

    overlaps, killed, begun = 0, 0.0, 0.0
    while second.outcome is None:
        has_begun = any("second" in command_line(pid) for pid in descendants(os.getpid()))
        overlaps += has_begun and bool(alive(ranks))
        if not killed:
            assert not has_begun
            os.kill(supervisor, signal.SIGKILL)
            killed = time.monotonic()
        if has_begun and not begun:
            begun = time.monotonic()
        time.sleep(0.05)

    measured(overlaps=overlaps, recovered_seconds=round(begun - killed, 2))
    assert overlaps == 0
    first.end_badly()
    assert alive(group) == []
    assert isinstance(second.end(), TrainingResult), second.outcome


def test_a_training_whose_gpu_is_held_is_given_back(stack_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(launch, "GPU_PATIENCE", 0.2)
    base, train_file = build_tiny_model(tmp_path / "tiny"), write_train_file(tmp_path / "train.jsonl")
    with gpu_locks.held(["1"], gpu_locks.lock_folder(stack_home / "locks"), patience=0, job="another"):
        outcome = Run(a_spec(base), train_file, tmp_path / "run").end()
    assert isinstance(outcome, Unavailable)
    assert "GPU 1 is held by" in str(outcome)
    assert "job another" in str(outcome)


def test_a_killed_worker_without_ranks_frees_its_gpu_at_once(holder: Any, tmp_path: Path) -> None:
    process = holder("0")
    assert wait_for(lambda: bool(history(tmp_path)))
    process.kill()
    process.wait()
    assert is_free(tmp_path, "0")


def test_a_child_that_inherits_the_lock_keeps_it(tmp_path: Path) -> None:
    with gpu_locks.held(["0"], tmp_path / "locks", patience=0) as held:
        child = subprocess.Popen(["sleep", "60"], pass_fds=held.locks)
    assert not is_free(tmp_path, "0")
    child.kill()
    child.wait()
    assert is_free(tmp_path, "0")


def test_a_rank_that_comes_late_does_not_join_a_device_that_another_is_taking(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    file = gpu_locks.lock_file(tmp_path / "locks", "0")
    with file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="this one has ended"):
            gpu_locks.join([file])


def test_devices_go_by_the_names_of_cuda_visible_devices(without_gpus: None) -> None:
    assert driver.visible_gpus("0") == ("0",)
    assert driver.visible_gpus(" 1, 00") == ("1", "0")
    assert driver.visible_gpus("GPU-8932f937,MIG-1") == ("GPU-8932f937", "MIG-1")
    assert driver.visible_gpus("0,-1,1") == ("0",), "as CUDA does"
    assert driver.visible_gpus("") == driver.visible_gpus("-1") == driver.visible_gpus("none") == ()


def test_a_machine_without_gpus_locks_nothing(without_gpus: None, tmp_path: Path) -> None:
    assert driver.visible_gpus(None) == ()
    with gpu_locks.held((), tmp_path / "locks", patience=0) as held:
        assert held == gpu_locks.Held()


LISTED = """GPU 0: NVIDIA H200 (UUID: GPU-aaaa0000-1111-2222-3333-444455556666)
  MIG 1g.18gb Device 0: (UUID: MIG-99990000-1111-2222-3333-444455556666)
GPU 1: NVIDIA H200 (UUID: GPU-bbbb0000-1111-2222-3333-444455556666)"""
FIRST, SECOND = "GPU-aaaa0000-1111-2222-3333-444455556666", "GPU-bbbb0000-1111-2222-3333-444455556666"


@pytest.fixture
def driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """An `nvidia-smi` that lists two GPUs, and as computing on them what it is given."""
    folder = tmp_path / "driver"
    folder.mkdir()

    def compute(running: str) -> None:
        script = folder / "nvidia-smi"
        script.write_text(f"#!/bin/sh\nif [ \"$1\" = -L ]; then echo '{LISTED}'; else printf '{running}'; fi\n")
        script.chmod(stat.S_IRWXU)

    compute("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return compute


@pytest.mark.usefixtures("driver_says")
def test_a_driver_gives_indices_and_beginnings_their_full_name() -> None:
    assert driver.visible_gpus(None) == (FIRST, SECOND)
    assert driver.visible_gpus("1") == driver.visible_gpus("GPU-bbbb") == (SECOND,)
    assert driver.visible_gpus("1,7,0") == (SECOND,), "CUDA stops at a device that is not there"


def test_a_gpu_on_which_somebody_else_computes_is_not_had(driver_says: Callable[[str], None], tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    assert wait_for(lambda: not is_running(ended.pid), 10)
    driver_says(f"{os.getppid()}, {SECOND}\\n4194303, {FIRST}\\n{ended.pid}, {FIRST}\\n")
    assert driver.computing([FIRST, SECOND]) == {SECOND: os.getppid()}, "the others have ended, though one was not waited for"
    ended.wait()
    assert is_free(tmp_path, FIRST)
    wanted = gpu_locks.held([SECOND], tmp_path / "locks", patience=0)
    with pytest.raises(Busy, match=f"{SECOND} is in use by process {os.getppid()}, which tweetmill did not start"), wanted:
        pytest.fail("two compute on it")
    driver_says("")
    assert is_free(tmp_path, SECOND)


def test_a_process_of_ones_own_that_computes_without_a_lock_keeps_a_gpu_busy(driver_says: Callable[[str], None], tmp_path: Path) -> None:
    driver_says(f"{os.getpid()}, {FIRST}\\n")
    assert not is_free(tmp_path, FIRST), "it would share its memory with the training"


def test_in_a_container_a_process_counts_whose_number_means_nothing_there(
    driver_says: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_says(f"4194303, {FIRST}\\n")
    assert is_free(tmp_path, FIRST)
    monkeypatch.setattr(driver, "INITIAL_PID_NAMESPACE", "another")
    assert not is_free(tmp_path, FIRST), "the machine numbers it so, and it may well run"


def test_a_machine_and_its_containers_have_one_folder_of_locks_and_two_machines_two(tmp_path: Path) -> None:
    folder = gpu_locks.lock_folder(tmp_path)
    assert folder.parent == tmp_path
    assert folder.name == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_what_a_lock_says_is_of_its_last_holder(tmp_path: Path) -> None:
    for job in ("a-job-with-a-long-name", "b"):
        with gpu_locks.held(["0"], tmp_path / "locks", patience=0, job=job):
            signed = json.loads(gpu_locks.lock_file(tmp_path / "locks", "0").read_text())
        assert signed == {"pid": os.getpid(), "host": socket.gethostname(), "job": job, "use": "training"}
