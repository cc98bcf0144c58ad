"""A training job with a real worker, a real ledger and real ranks: whoever dies, it goes on from its newest checkpoint."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Engine

from schemas.states import JobState
from tests.support.mill import Mill
from tests.support.trainings import TrainingJob, add_dataset, group, left
from tests.support.worker_process import WorkerProcess, wait_for
from workers.jobs import fanout
from workers.processes import is_running

pytestmark = pytest.mark.spread

LEASE = 8.0  # seconds: longer than the starting ranks hold up a worker on two cores
QUICK = {"TWEETMILL_LEASE": str(LEASE), "TWEETMILL_HEARTBEAT": "1"}
Told = Callable[..., None]


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    add_dataset(clean_database)
    return clean_database


@pytest.fixture
def start(start_worker: Callable[..., WorkerProcess]) -> Callable[..., WorkerProcess]:
    return partial(start_worker, queues="training", **QUICK)


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


# In each rank: memory runs out in the third step, in other words for each size of the micro-batch; with one example it fits.
OUT_OF_MEMORY = """
import json, os, sys
if "workers.training.rank.main" in sys.orig_argv:
    import torch
    spec = json.load(open(sys.argv[-1]))["spec"]
    size, steps, plain = spec["per_device_train_batch_size"], 2 * spec["gradient_accumulation_steps"], torch.Tensor.backward
    seen = 0
    def nccl_thread():
        os.write(2, b"include/alloc.h:178 NCCL WARN Cuda failure 2 'out of memory'\\n")
        os.abort()
    def fail(words):
        raise RuntimeError(words)
    failures = {
        32: lambda: fail("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        16: nccl_thread,
        8: lambda: torch.empty(2**60),
        4: lambda: fail("CUDA driver error: out of memory"),
        2: lambda: fail("Triton Error [CUDA]: out of memory"),
    }
    def backward(*args, **options):
        global seen
        seen += 1
        if seen > steps:
            failures[size]() if size in failures else os._exit(1) if not os.path.exists("crashed") else None
        return plain(*args, **options)
    torch.Tensor.backward = backward
"""


@pytest.mark.fault(7)
@pytest.mark.timeout(900)
def test_out_of_memory_is_tried_with_ever_smaller_micro_batches_and_what_fits_is_remembered(
    engine: Engine, base: Path, start: Callable[..., WorkerProcess], tmp_path: Path, measured: Told
) -> None:
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / "sitecustomize.py").write_text(OUT_OF_MEMORY.replace('"crashed"', repr(str(tmp_path / "crashed"))))
    job = TrainingJob(engine, base, world_size=1, per_device_train_batch_size=32, max_steps=14, save_steps=1)
    worker = start("worker", PYTHONPATH=str(tmp_path / "faults"), OMP_NUM_THREADS="1")

    # With one example it fits, and the rank dies of something else.
    assert wait_for(lambda: job.row.failures == 1, 600), (job.log, worker.log)
    (tmp_path / "crashed").touch()
    assert wait_for(lambda: job.row.state == "done", 120), (job.log, worker.log)

    sizes = [(32, 16), (16, 8), (8, 4), (4, 2), (2, 1)]
    tried = [f"out of memory with {size} examples a rank at a time: once more with {smaller}, as many a step" for size, smaller in sizes]
    assert [line for line in job.log if line.startswith("out of memory")] == tried
    assert job.resumed_from == [2, 4, 6, 8, 10, 12], "each goes on from the newest checkpoint"
    assert "1 examples a rank at a time, which is what fitted into memory before" in job.log
    assert (job.row.attempt, job.row.failures) == (2, 1), "only the crash counts"
    assert sorted(job.losses()) == list(range(1, 15))
    measured(starts=7, attempts=job.row.attempt, smallest=1, state=job.row.state)


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
