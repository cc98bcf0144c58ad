"""Real ranks go on from a checkpoint as if nothing had happened, leave with one when they are asked to, and lose at most an interval."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.training import TrainingSpec
from tests.support.ranks import Run, a_spec, alive, limit, train, wait_for
from workers.processes import descendants
from workers.training.protocol import checkpoints
from workers.training.protocol.outcome import ExitCode, TrainingResult, TrainingStopped, read_failure
from workers.training.protocol.payload import RunPayload
from workers.training.protocol.progress import ProgressReader, Step

ENDLESS = 100_000
ROLES = ("supervisor", "agent", "rank")


Whole = tuple[TrainingSpec, TrainingResult, Run]


@pytest.fixture(scope="module")
def whole(base: Path, train_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A training of 240 steps that nobody disturbs, with a checkpoint every 20."""
    spec = a_spec(base, max_steps=240, save_steps=20)
    return spec, *train(spec, train_file, tmp_path_factory.mktemp("whole"))


def newest(run: Run) -> Path:
    """Where the next attempt goes on from, as a worker would choose it."""
    identity = checkpoints.training_identity(run.payload.spec, run.payload.train_file)
    choice = checkpoints.newest(run.payload.checkpoints, identity, {})
    assert choice.checkpoint is not None, choice.refused
    return choice.checkpoint.folder


def gaps(one: Run, other: Run) -> list[float]:
    """How far the losses of the steps lie apart that both made."""
    both = one.steps.keys() & other.steps.keys()
    assert both
    return [abs(one.steps[step] - other.steps[step]) for step in sorted(both)]


def test_checkpoints_come_at_their_interval_and_nothing_else_is_left(whole: Whole) -> None:
    _, result, run = whole

    assert [made.step for made in run.checkpoints] == list(range(20, 240, 20)), "the end needs none"
    assert sorted(folder.name for folder in run.payload.checkpoints.iterdir()) == [made.folder for made in run.checkpoints]
    for made in run.checkpoints:
        stored = checkpoints.verify(run.payload.checkpoints / made.folder)
        assert (stored.manifest_sha256, stored.bytes) == (made.manifest_sha256, made.bytes)
        assert set(stored.manifest.files) == {"weight.safetensors", "exp_avg.safetensors", "exp_avg_sq.safetensors"}
    assert result.resumed_from == 0


def test_a_resumed_training_is_the_one_that_was_never_stopped(whole: Whole, train_file: Path, tmp_path: Path) -> None:
    spec, result, run = whole

    resumed, again = train(spec, train_file, tmp_path / "run", attempt=2, resume_from=run.payload.checkpoints / "step-000180-a1")

    assert min(again.steps) == 181
    assert max(gaps(run, again)) < 1e-6
    assert resumed.sha256 == result.sha256
    assert (resumed.tokens, resumed.steps, resumed.resumed_from) == (result.tokens, 240, 180)
    assert [made.folder for made in again.checkpoints] == ["step-000200-a2", "step-000220-a2"]


@pytest.mark.fault(33)
@pytest.mark.spread
def test_other_ranks_and_another_sharding_go_on_where_two_stood(
    base: Path, train_file: Path, tmp_path: Path, thorough: bool, measured: Callable[..., None]
) -> None:
    same = {"bf16": False, "max_steps": 8, "save_steps": 4}
    _, two = train(a_spec(base, **same), train_file, tmp_path / "two")
    others: list[dict[str, Any]] = [{"world_size": 1, "gradient_accumulation_steps": 2, "zero_stage": 0}]
    others += [{"zero_stage": 1}, {"zero_stage": 0}, {"world_size": 4, "per_device_train_batch_size": 2}] if thorough else []

    apart = []
    for number, other in enumerate(others):
        spec = a_spec(base, **same, **other)
        _, run = train(spec, train_file, tmp_path / f"other{number}", attempt=2, resume_from=newest(two))
        assert min(run.steps) == 5
        apart += gaps(two, run)

    assert max(apart) < 1e-3
    measured(loss_gap=max(apart), conversions=len(others), steps_compared=len(apart))


@pytest.mark.fault(31)
def test_a_training_that_is_killed_again_and_again_loses_no_more_than_an_interval_each_time(
    whole: Whole, train_file: Path, tmp_path: Path, thorough: bool, measured: Callable[..., None]
) -> None:
    spec, result, undisturbed = whole
    chance = random.Random(31)
    kills, most_lost, apart, last = 10 if thorough else 2, 0, [0.0], 0
    where: dict[str, Any] = {"checkpoint_folder": tmp_path / "checkpoints"}
    for attempt in range(1, kills + 1):
        run = Run(spec, train_file, tmp_path / f"run{attempt}", attempt=attempt, **where)
        pids = run.until_written(min(last + chance.randint(21, 45), 235))
        run.kill(chance.choice(ROLES))
        assert not isinstance(run.end(), TrainingResult)
        wait_for(lambda pids=pids: alive(pids) == [], 10)
        where["resume_from"] = newest(run)
        last = checkpoints.verify(where["resume_from"]).manifest.step
        most_lost = max(most_lost, max(run.steps) - last)
        apart += gaps(undisturbed, run)

    finished, run = train(spec, train_file, tmp_path / "last", attempt=kills + 1, **where)

    apart += gaps(undisturbed, run)
    measured(kills=kills, resumes=kills, most_steps_lost=most_lost, interval=spec.save_steps, loss_gap=max(apart))
    assert most_lost <= spec.save_steps
    assert max(apart) < 1e-3
    assert finished.sha256 == result.sha256


@pytest.mark.fault(10)
@pytest.mark.spread
def test_ranks_that_are_asked_to_leave_finish_their_step_and_keep_it(
    base: Path, train_file: Path, tmp_path: Path, measured: Callable[..., None]
) -> None:
    run = Run(a_spec(base, max_steps=ENDLESS, save_steps=0), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    run.order = "drain"
    asked = time.monotonic()
    outcome = run.end()
    took = time.monotonic() - asked

    assert isinstance(outcome, TrainingStopped)
    assert outcome.reason == "drain"
    failure = read_failure(tmp_path / "run")
    assert failure is not None
    assert failure.kind == "preempted"
    assert alive(pids) == []
    lost = max(run.steps) - run.checkpoints[-1].step
    measured(seconds=round(took, 2), lost_steps=lost)
    assert lost == 0


@pytest.mark.spread
def test_a_supervisor_that_is_told_to_stop_is_nobodys_failure(base: Path, train_file: Path, tmp_path: Path) -> None:
    run = Run(a_spec(base, max_steps=ENDLESS), train_file, tmp_path / "run")
    pids = run.until_it_steps()

    os.kill(run.group()["supervisor"][0], signal.SIGTERM)

    assert run.end_badly().kind == "preempted"
    assert alive(pids) == []


@pytest.mark.fault(22)
@pytest.mark.spread
def test_ranks_of_a_lost_job_are_gone_at_once(base: Path, train_file: Path, tmp_path: Path, measured: Callable[..., None]) -> None:
    run = Run(a_spec(base, max_steps=ENDLESS), train_file, tmp_path / "run")
    pids = run.until_it_steps()
    os.kill(run.group()["supervisor"][0], signal.SIGSTOP)

    run.order = "lost"
    took = wait_for(lambda: not any(pid in alive(pids) for pid in run.group()["rank"]), 10)

    os.kill(run.group()["supervisor"][0], signal.SIGCONT)
    outcome = run.end()
    assert isinstance(outcome, TrainingStopped)
    assert outcome.reason == "lost"
    assert alive(pids) == []
    measured(ranks_gone_seconds=round(took, 2))


WITH_DEADLINE = """
import sys
from workers import clock
from workers.training.launcher import launch
from workers.training.protocol.payload import RunPayload
launch.run(RunPayload.model_validate_json(sys.argv[1]), lambda event: None, lambda: None, lambda: clock.now() + 3)
"""


@pytest.mark.fault(8, 22)
@pytest.mark.spread
def test_ranks_do_not_run_on_when_their_launcher_freezes(
    base: Path, train_file: Path, tmp_path: Path, measured: Callable[..., None]
) -> None:
    payload = RunPayload(spec=a_spec(base, max_steps=ENDLESS), train_file=train_file, run_folder=tmp_path / "run")
    with subprocess.Popen([sys.executable, "-c", WITH_DEADLINE, payload.model_dump_json()]) as launcher:
        reader = ProgressReader(tmp_path / "run")
        wait_for(lambda: any(isinstance(event, Step) for event in reader.read()), 90)
        pids = list(descendants(launcher.pid))
        assert len(pids) >= 4
        launcher.send_signal(signal.SIGSTOP)

        took = wait_for(lambda: alive(pids) == [], 15)

        launcher.kill()
    failure = read_failure(tmp_path / "run")
    assert failure is not None
    assert failure.kind == "preempted"
    measured(deadline_seconds=3, ranks_gone_seconds=round(took, 2))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A disk of half a megabyte; None where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)], capture_output=True, check=False)
    if mounted.returncode != 0:
        yield None
        return
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.fault(30)
@pytest.mark.spread
def test_a_full_disk_costs_the_new_checkpoint_and_not_the_old_ones(
    base: Path, train_file: Path, tmp_path: Path, small_disk: Path | None, measured: Callable[..., None]
) -> None:
    folder = (small_disk or tmp_path) / "checkpoints"
    run = Run(a_spec(base, max_steps=ENDLESS, save_steps=20), train_file, tmp_path / "run", checkpoint_folder=folder)
    if small_disk is None:
        run.until(lambda: len(run.checkpoints) >= 1)
        limit(run.group()["rank"], resource.RLIMIT_FSIZE, 30_000)
    failure = run.end_badly()

    assert failure.kind == "disk_full"
    assert ExitCode.DISK_FULL == 73
    left = sorted(path.name for path in folder.iterdir())
    assert left == [made.folder for made in run.checkpoints], "neither a rest of the new one nor a hole in the old ones"
    assert newest(run).name == left[-1]
    measured(valid_checkpoints=len(left), corrupt_loads=0, on_a_tmpfs=int(small_disk is not None))
