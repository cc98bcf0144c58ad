"""A training job with a real worker, a real ledger and real ranks: whoever dies, it goes on from its newest checkpoint."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine

from schemas.states import JobState
from tests.support.mill import Mill
from tests.support.ranks import limit
from tests.support.tiny_model import build_tiny_model
from tests.support.trainings import TrainingJob, add_dataset, group, left
from tests.support.worker_process import WorkerProcess, wait_for
from workers.jobs import fanout
from workers.processes import is_running

pytestmark = pytest.mark.spread

LEASE = 8.0  # seconds: longer than the starting ranks hold up a worker on two cores
QUICK = {"TWEETMILL_LEASE": str(LEASE), "TWEETMILL_HEARTBEAT": "1"}
Told = Callable[..., None]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    add_dataset(clean_database)
    return clean_database


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers, and kills them in the end."""
    started: list[WorkerProcess] = []

    def start_one(name: str, **environment: str) -> WorkerProcess:
        started.append(WorkerProcess(name, "training", tmp_path, **{**QUICK, **environment}))
        return started[-1]

    yield start_one
    for worker in started:
        worker.kill_all()


def all_of(worker: WorkerProcess) -> list[psutil.Process]:
    return [process for processes in group(worker).values() for process in processes]


def past(job: TrainingJob, step: int, attempt: int = 1) -> Callable[[], bool]:
    return lambda: job.step(attempt) >= step and job.saved(attempt) > 0


@pytest.mark.fault(1)
@pytest.mark.parametrize("victim", ["worker", "child"])
def test_a_killed_worker_leaves_no_process_and_the_job_goes_on_from_its_checkpoint(
    victim: str, engine: Engine, base: Path, start: Callable[..., WorkerProcess], measured: Told
) -> None:
    job = TrainingJob(engine, base, max_steps=400)
    doomed = start("doomed")
    assert wait_for(past(job, 50), 120), doomed.log
    processes = all_of(doomed)
    assert len(processes) >= 5

    doomed.process.kill() if victim == "worker" else group(doomed)["child"][0].kill()
    begun = time.monotonic()
    assert wait_for(lambda: left(processes) == [], 10), left(processes)
    gone = time.monotonic() - begun
    heir = start("heir") if victim == "worker" else doomed
    assert wait_for(lambda: job.row.attempt == 2, 60), heir.log
    again = time.monotonic() - begun
    assert wait_for(lambda: job.row.state == "done", 120), heir.log

    assert (job.row.attempt, job.row.failures) == (2, 1)
    lost = job.step(1) - job.resumed_from[0]
    assert job.resumed_from == [job.saved(1)]
    assert 0 <= lost <= job.spec.save_steps
    assert sorted(job.losses()) == list(range(1, 401)), "the numbers of every step, of whichever attempt"
    assert list(job.folder.glob("*/train.jsonl")) == [], "no attempt leaves tweets behind, not even one that was killed"
    measured(killed=victim, group_gone_seconds=round(gone, 2), claimed_again_seconds=round(again, 2), lease=LEASE, lost_steps=lost)


def test_a_job_that_is_done_keeps_its_logs_and_not_its_checkpoints(engine: Engine, base: Path, start: Callable[..., WorkerProcess]) -> None:
    job = TrainingJob(engine, base, max_steps=75, save_steps=10)
    worker = start("worker")
    assert wait_for(lambda: len(job.checkpoints()) >= 4, 120), worker.log
    assert wait_for(lambda: job.row.state == "done", 60), worker.log

    assert [(row.step, row.attempt, row.folder) for row in job.checkpoints()] == [
        (step, 1, f"checkpoints/step-{step:06d}-a1") for step in range(10, 75, 10)
    ]
    assert all(row.removed for row in job.checkpoints())
    assert wait_for(lambda: sorted(path.name for path in job.folder.iterdir()) == ["attempt-1"], 10)
    logs = job.folder / "attempt-1"
    # The row is committed first and the folder tidied after it.
    assert wait_for(lambda: {path.name for path in logs.iterdir()}.isdisjoint({"adapter", "torchrun", "train.jsonl"}), 10)
    assert {"ranks.log", "progress.jsonl", "result.json"} <= {path.name for path in logs.iterdir()}
    assert (Path(job.row.result["adapter"]) / "adapter_model.safetensors").is_file()


@pytest.mark.fault(10)
def test_a_worker_asked_to_leave_keeps_the_last_step_and_counts_no_failure(
    engine: Engine, base: Path, start: Callable[..., WorkerProcess], measured: Told
) -> None:
    job = TrainingJob(engine, base, save_steps=1000)
    leaving = start("leaving")
    assert wait_for(lambda: job.step(1) >= 20, 120), leaving.log
    processes = all_of(leaving)

    leaving.signal(signal.SIGTERM)
    begun = time.monotonic()
    code = leaving.exit_code(seconds=60)
    took = time.monotonic() - begun

    assert code == 0, leaving.log
    assert left(processes) == []
    assert (job.row.state, job.row.failures, job.row.preemptions) == ("queued", 0, 1)
    lost = job.step(1) - job.saved(1)
    assert lost == 0
    heir = start("heir")
    assert wait_for(lambda: job.step(2) > job.step(1), 120), heir.log
    assert job.resumed_from == [job.step(1)]
    measured(exit_seconds=round(took, 2), lost_steps=lost, failures=job.row.failures, preemptions=job.row.preemptions)


@pytest.mark.fault(32)
def test_a_damaged_checkpoint_is_not_taken_and_the_log_says_why(
    engine: Engine, base: Path, start: Callable[..., WorkerProcess], measured: Told
) -> None:
    job = TrainingJob(engine, base)
    doomed = start("doomed")
    assert wait_for(lambda: len([row for row in job.checkpoints() if not row.removed]) >= 2, 120), doomed.log
    doomed.kill_all()
    kept = sorted((job.folder / "checkpoints").glob("step-*a1"))
    with (kept[-1] / "exp_avg.safetensors").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")

    heir = start("heir")
    assert wait_for(lambda: job.step(2) > 0, 120), heir.log

    assert job.resumed_from == [int(kept[-2].name[5:11])]
    refusals = [line for line in job.log if line.startswith("refused")]
    assert refusals == [f"refused checkpoint {kept[-1].name}: exp_avg.safetensors has another sha256 than the manifest says"]
    measured(damaged_loaded=0, refused=len(refusals))


@pytest.mark.fault(7)
def test_out_of_memory_is_tried_once_more_in_smaller_bites_and_then_told_to_the_user(
    engine: Engine, base: Path, start: Callable[..., WorkerProcess], measured: Told
) -> None:
    job = TrainingJob(engine, base, per_device_train_batch_size=8)
    # Large blocks are asked of the kernel each time, so that its limit is felt at once.
    worker = start("worker", MALLOC_MMAP_THRESHOLD_="16384")
    assert wait_for(past(job, 21), 120), worker.log
    starve(worker)
    assert wait_for(lambda: len(job.resumed_from) == 1, 60), worker.log
    first = job.resumed_from[0]
    assert wait_for(past(job, first + 21), 120), worker.log
    starve(worker)
    assert wait_for(lambda: job.row.state == "failed", 60), worker.log

    assert (job.row.attempt, job.row.failures) == (1, 0), "the same attempt, and nobody's third time"
    assert job.row.error["class"] == "OutOfMemory"
    assert "lower per_device_train_batch_size" in job.row.error["message"]
    assert "out of memory with 8 examples a rank at a time: once more with 4, as many a step" in job.log
    measured(starts=2, attempts=job.row.attempt, resumed_from=first, state=job.row.state)


def starve(worker: WorkerProcess) -> None:
    """Let the ranks have no more memory than they have now."""
    for rank in group(worker)["rank"]:
        limit([rank.pid], resource.RLIMIT_AS, rank.memory_info().vms)


@pytest.mark.fault(22)
def test_a_worker_cut_off_from_postgres_ends_its_ranks_before_another_may_start(mill: Mill, base: Path, measured: Told) -> None:
    add_dataset(mill.engine)
    job = TrainingJob(mill.engine, base)
    worker = WorkerProcess("cut-off", "training", mill.home.logs, **QUICK)
    mill.all.append(worker)
    assert wait_for(past(job, 30), 120), worker.log
    ranks = [rank.pid for rank in group(worker)["rank"]]

    with mill.without(mill.postgres):
        begun = time.monotonic()
        assert wait_for(lambda: not any(map(is_running, ranks)), 30)
        took = time.monotonic() - begun
    mill.engine.dispose()
    assert wait_for(lambda: job.row.attempt == 2 and job.step(2) > 0, 120), worker.log

    lost = job.step(1) - job.resumed_from[0]
    measured(lease=LEASE, ranks_gone_seconds=round(took, 2), lost_steps=lost, holders_at_once=1)
    assert took < LEASE
    assert lost <= job.spec.save_steps


def test_a_cancelled_training_ends_at_once_and_a_retry_goes_on(engine: Engine, base: Path, start: Callable[..., WorkerProcess]) -> None:
    job = TrainingJob(engine, base)
    worker = start("worker")
    assert wait_for(past(job, 30), 120), worker.log
    with engine.begin() as connection:
        fanout.cancel(connection, job.id)
    assert wait_for(lambda: job.row.state == "cancelled", 20), worker.log

    with engine.begin() as connection:
        fanout.retry(connection, [JobState.CANCELLED], job.id)
    assert wait_for(lambda: job.step(2) > 0, 120), worker.log
    assert job.resumed_from == [job.saved(1)]
