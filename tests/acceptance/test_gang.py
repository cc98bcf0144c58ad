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
def test_workers_killed_in_other_networks_cost_one_attempt_each_and_no_loss(
    engine: Engine, base: Path, start: Callable[..., WorkerProcess], measured: Told
) -> None:
    alone = TrainingJob(engine, base, **SHORT)
    only = start("only")
    assert wait_for(lambda: alone.row.state == "done", 400), only.log
    only.kill_all()

    with two_networks() as networks:
        told = [{"within": network.enter, "TWEETMILL_GANG_INTERFACE": network.interface} for network in networks]
        # By the place in the name's end: an heir works in the network of the one before it.
        workers = {f"w{place}@test": start(f"w{place}", **told[place]) for place in (0, 1)}
        job = TrainingJob(engine, base, nodes=2, **SHORT)
        gone = []
        for attempt, dies in enumerate(("member", "leader"), start=1):
            assert wait_for(lambda: job.step(attempt) >= 30 * attempt and job.saved(attempt) >= 25, 400), logs(workers)  # noqa: B023
            assert networks[place_of(job.row.owner)].address in next(line for line in reversed(job.log) if line.startswith("2 nodes:"))
            doomed = members(engine, job)[0].owner if dies == "member" else job.row.owner
            gone.append(seconds_until_all_are_gone(workers, doomed))
            del workers[doomed]
            heir = f"heir-{dies}-{place_of(doomed)}"
            workers[f"{heir}@test"] = start(heir, **told[place_of(doomed)])
        assert wait_for(lambda: job.row.state == "done", 400), job.story
        assert wait_for(lambda: members(engine, job)[0].state == "done", 60)

    assert (job.row.attempt, job.row.failures) == (3, 2)
    assert len(job.resumed_from) == 2
    losses, expected = job.losses(), alone.losses()
    assert sorted(losses) == list(range(1, STEPS + 1))
    difference = max(abs(losses[step] - expected[step]) for step in losses)
    assert difference < 1e-3
    assert [row.lease_until for row in (job.row, *members(engine, job))] == [None, None]
    assert list(job.folder.rglob("train.jsonl")) == []
    measured(
        group_gone_seconds=round(max(gone), 2),
        attempts=job.row.attempt,
        largest_difference=f"{difference:.1e}",
        network=networks[0].interface[:2],
    )


def place_of(worker: str) -> int:
    return int(worker.partition("@")[0][-1])


def logs(workers: dict[str, WorkerProcess]) -> list[str]:
    return [worker.log for worker in workers.values()]


def seconds_until_all_are_gone(workers: dict[str, WorkerProcess], doomed: str) -> float:
    """Kill the worker, and return how long processes of the training outlived it on any node."""
    ranks = [process for worker in workers.values() for process in of_the_training(worker)]
    assert len(ranks) == 6
    workers[doomed].process.kill()
    begun = time.monotonic()
    assert wait_for(lambda: left(ranks) == [], 15), left(ranks)
    return time.monotonic() - begun


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
    # Looked at before the worker has gone: who is left waits for a second one in vain, gives back, and that counts too.
    assert wait_for(lambda: job.row.preemptions == 1, 60), job.story
    assert leaving.exit_code(seconds=90) == 0, leaving.log
    lost = job.step(1) - job.saved(1)
    assert lost == 0
    assert job.row.failures == 0
    workers["heir@test"] = start("heir")
    assert wait_for(lambda: job.step(2) > job.step(1), 400), [worker.log for worker in workers.values()]
    assert job.resumed_from == [job.step(1)]

    processes = [process for worker in workers.values() for process in of_the_training(worker)]
    assert len(processes) == 6
    cancel(engine, members(engine, job)[0].id)
    assert wait_for(lambda: job.row.state == members(engine, job)[0].state == "cancelled", 60), job.story
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
