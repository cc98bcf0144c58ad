"""`tweetmill drain`: workers leave when asked, whatever they do at that moment, and no job is blamed or lost."""

from __future__ import annotations

import json
import time

import pytest
from sqlalchemy import text

from producers.cli import main
from tests.support.mill import Mill, seconds_until
from tests.support.work import KIND, QUEUE, Work, enqueue
from tests.support.worker_process import WorkerProcess, wait_for
from workers.app import publish

pytestmark = pytest.mark.spread

ALIVE = {"TWEETMILL_LEASE": "20"}
"""Nothing dies here: a worker that a busy machine leaves without a core for seconds keeps its jobs."""


def drain(worker: WorkerProcess) -> None:
    """By the part of its name before the host, as one would type it."""
    assert main(["drain", worker.name.partition("@")[0]]) == 0


def exit_code_and_seconds(worker: WorkerProcess) -> tuple[int, float]:
    asked = time.monotonic()
    return worker.exit_code(), round(time.monotonic() - asked, 2)


@pytest.mark.fault(10)
def test_a_busy_worker_that_is_drained_gives_its_job_back_and_the_job_goes_on_elsewhere(mill: Mill, measured):
    mill.workers(0)
    mill.start(2, **ALIVE)
    [job] = enqueue([Work(rows=40, pause=0.1)])
    assert wait_for(lambda: len(mill.attempts_of_rows(job)) >= 5), mill.log()
    leaving = mill.owner(job)
    drain(leaving)
    code, seconds = exit_code_and_seconds(leaving)
    stored = mill.attempts_of_rows(job).count(1)

    tally = mill.wait_done([job])
    assert (code, tally.lost, tally.failures, tally.preemptions) == (0, 0, 0, 1), mill.log()
    assert mill.attempts_of_rows(job) == [1] * stored + [2] * (40 - stored), "what was stored was done again"
    assert 5 <= stored < 40
    assert mill.row(job).owner != leaving.name
    assert seconds < 15, "it waited for more than a heartbeat and a step"
    measured(exit_code=code, seconds=seconds, failures=tally.failures, preemptions=tally.preemptions, rows_done_again=tally.rows - 40)


@pytest.mark.fault(11)
def test_an_idle_worker_that_is_drained_leaves_and_the_rest_stay(mill: Mill, measured):
    mill.workers(0)
    leaving, staying = mill.start(2, **ALIVE)
    drain(leaving)
    code, seconds = exit_code_and_seconds(leaving)
    assert code == 0, leaving.log
    assert seconds < 10
    assert main(["drain", leaving.name]) == 1, "it has left the list"
    assert staying.process.poll() is None
    measured(exit_code=code, seconds=seconds)


@pytest.mark.fault(10)
def test_a_worker_drained_between_a_message_and_its_claim_does_not_keep_the_job(mill: Mill, measured, capsys):
    worker = mill.only(**ALIVE)  # it begins before the wait for the lock
    [job] = enqueue([Work(watch=8)], publish=False)
    with mill.engine.begin() as holding:
        # The claim waits for this lock while the worker begins to leave.
        holding.execute(text("SELECT 1 FROM job WHERE id = :job FOR UPDATE"), {"job": job})
        publish(KIND, QUEUE.value, job)
        assert wait_for(lambda: claims_that_wait(mill) == 1), worker.log
        drain(worker)
        assert wait_for(lambda: "Warm shutdown" in worker.log), worker.log
        assert wait_for(lambda: [live["draining"] for live in status(capsys)["workers"]] == [True])
        time.sleep(1)
    code, seconds = exit_code_and_seconds(worker)
    row = mill.row(job)
    assert (code, row.attempt, row.state, row.failures, row.preemptions) == (0, 1, "queued", 0, 1), worker.log

    mill.start(**ALIVE)
    tally = mill.wait_done([job])
    assert (tally.lost, tally.rows, tally.starts) == (0, 1, 2), mill.log()
    measured(exit_code=code, seconds=seconds, lost=tally.lost, preemptions=tally.preemptions)


def claims_that_wait(mill: Mill) -> int:
    with mill.engine.connect() as connection:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%claimed%'"
        return connection.execute(text(waiting)).scalar_one()


def status(capsys) -> dict:
    capsys.readouterr()
    main(["status", "--json"])
    return json.loads(capsys.readouterr().out)


@pytest.mark.fault(10)
def test_all_workers_are_drained_under_load_and_others_take_over(mill: Mill, measured):
    mill.workers(0)
    leaving = mill.start(2, **ALIVE)
    jobs = enqueue([Work(rows=5, pause=0.05)] * 40)
    assert wait_for(lambda: mill.tally(jobs).starts > 6), mill.log()
    assert main(["drain", "--all"]) == 0
    codes = [worker.exit_code() for worker in leaving]
    assert mill.tally(jobs).lost > 0, "they left in the middle"

    mill.start(2, **ALIVE)
    recovered = seconds_until(lambda: mill.tally(jobs).lost == 0, 90)
    tally = mill.tally(jobs)
    assert (codes, tally.rows, tally.failures) == ([0, 0], 200, 0), mill.log()
    measured(lost=tally.lost, failures=tally.failures, given_back=tally.preemptions, recovered_seconds=recovered)
