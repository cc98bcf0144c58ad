"""A training on several nodes with real workers, a real ledger and real ranks: all start or none, and whoever dies, all go on together."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, text

from tests.support.networks import two_networks
from tests.support.trainings import TrainingJob, add_dataset, group, left
from tests.support.worker_process import WorkerProcess, wait_for
from workers.jobs import fanout

pytestmark = pytest.mark.spread

LEASE = 12.0  # seconds: longer than ranks that start hold up two workers on two cores
QUICK = {"TWEETMILL_LEASE": str(LEASE), "TWEETMILL_HEARTBEAT": "1"}
STEPS = 200
SHORT = {"world_size": 2, "max_steps": STEPS, "save_steps": 25, "learning_rate": 2e-3, "dtype": "float32"}
Told = Callable[..., None]


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    add_dataset(clean_database)
    return clean_database


@pytest.fixture
def start(start_worker: Callable[..., WorkerProcess]) -> Callable[..., WorkerProcess]:
    return partial(start_worker, queues="training", **QUICK)


@pytest.mark.fault(41)
@pytest.mark.timeout(1500)
def test_a_worker_killed_in_another_network_costs_one_attempt_and_no_loss(
    engine: Engine, base: Path, start: Callable[..., WorkerProcess], measured: Told
) -> None:
    alone = TrainingJob(engine, base, **SHORT)
    only = start("only")
    assert wait_for(lambda: alone.row.state == "done", 400), only.log
    only.kill_all()

    with two_networks() as networks:
        told = [{"within": network.enter, "TWEETMILL_GANG_INTERFACE": network.interface} for network in networks]
        workers = {f"w{number}@test": start(f"w{number}", **told[number]) for number in (0, 1)}
        job = TrainingJob(engine, base, nodes=2, **SHORT)
        assert wait_for(lambda: job.step(1) >= 30 and job.saved(1) >= 25, 400), [worker.log for worker in workers.values()]
        assert networks[int(job.row.owner[1])].address in job.log[-2]
        doomed = next(worker for name, worker in workers.items() if name == members(engine, job)[0].owner)
        ranks = [process for worker in workers.values() for process in of_the_training(worker)]
        assert len(ranks) == 6

        doomed.process.kill()
        begun = time.monotonic()
        assert wait_for(lambda: left(ranks) == [], 15), left(ranks)
        gone = time.monotonic() - begun
        start("heir", **told[list(workers.values()).index(doomed)])
        assert wait_for(lambda: job.row.state == "done", 400), job.log
        assert wait_for(lambda: members(engine, job)[0].state == "done", 60)

    assert (job.row.attempt, job.row.failures) == (2, 1)
    assert len(job.resumed_from) == 1
    losses, expected = job.losses(), alone.losses()
    assert sorted(losses) == list(range(1, STEPS + 1))
    difference = max(abs(losses[step] - expected[step]) for step in losses)
    assert difference < 1e-3
    assert [row.lease_until for row in (job.row, *members(engine, job))] == [None, None]
    assert list(job.folder.rglob("train.jsonl")) == []
    measured(
        group_gone_seconds=round(gone, 2),
        attempts=job.row.attempt,
        largest_difference=f"{difference:.1e}",
        network=networks[0].interface[:2],
    )


@pytest.mark.fault(42)
@pytest.mark.timeout(1500)
def test_a_member_asked_to_leave_costs_no_step_and_a_cancel_ends_all(
    engine: Engine, base: Path, start: Callable[..., WorkerProcess], measured: Told
) -> None:
    job = TrainingJob(engine, base, nodes=2, save_steps=100_000)
    workers = {f"w{number}@test": start(f"w{number}") for number in (0, 1)}
    assert wait_for(lambda: job.step(1) >= 10, 400), [worker.log for worker in workers.values()]
    leaving = workers.pop(members(engine, job)[0].owner)

    leaving.signal(signal.SIGTERM)
    assert leaving.exit_code(seconds=90) == 0, leaving.log
    assert wait_for(lambda: job.row.preemptions == 1, 60), job.log
    lost = job.step(1) - job.saved(1)
    assert lost == 0
    assert job.row.failures == 0
    workers["heir@test"] = start("heir")
    assert wait_for(lambda: job.step(2) > job.step(1), 400), [worker.log for worker in workers.values()]
    assert job.resumed_from == [job.step(1)]

    processes = [process for worker in workers.values() for process in of_the_training(worker)]
    assert len(processes) == 6
    cancel(engine, members(engine, job)[0].id)
    assert wait_for(lambda: job.row.state == members(engine, job)[0].state == "cancelled", 60), job.log
    assert wait_for(lambda: left(processes) == [], 15), left(processes)
    measured(lost_steps=lost, failures=job.row.failures, preemptions=1)


def of_the_training(worker: WorkerProcess) -> list[psutil.Process]:
    """A worker's supervisor, agent and rank."""
    return [process for role, processes in group(worker).items() if role != "child" for process in processes]


def members(engine: Engine, job: TrainingJob) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM job WHERE parent = :job"), {"job": job.id}).all())


def cancel(engine: Engine, job: Any) -> None:
    with engine.begin() as connection:
        fanout.cancel(connection, job)
