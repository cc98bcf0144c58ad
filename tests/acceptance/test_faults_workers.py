"""Workers die, freeze, leave and have wrong clocks: every job ends as it should, and no row is written twice."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from tests.support.mill import LEASE, Mill, is_alive, process_tree, seconds_until, send
from tests.support.work import Work, enqueue
from tests.support.worker_process import wait_for


def started(mill: Mill, job, rows: int = 1) -> bool:
    return len(mill.attempts_of_rows(job)) >= rows


@pytest.mark.fault(1)
def test_a_job_whose_worker_is_killed_goes_on_elsewhere(mill: Mill, measured):
    mill.workers(2)
    [job] = enqueue([Work(rows=8, pause=0.2)])
    assert wait_for(lambda: started(mill, job, rows=3)), mill.log()
    pool = process_tree(mill.owner(job))[1:]
    mill.owner(job).signal(signal.SIGKILL)
    recovered = seconds_until(lambda: mill.row(job).attempt == 2, 30)

    tally = mill.wait_done([job])
    assert (tally.lost, tally.rows, tally.failures) == (0, 8, 1), mill.log()
    assert not psutil.wait_procs(pool, timeout=10)[1], "its pool outlived it"
    measured(recovered_seconds=recovered, lost=tally.lost, rows=tally.rows, starts=tally.starts)
    assert recovered < LEASE + 10


@pytest.mark.fault(2)
def test_a_job_that_kills_its_pool_child_is_tried_again_and_not_for_ever(mill: Mill, measured):
    worker = mill.only(TWEETMILL_LEASE="2")
    deadly, harmless = enqueue([Work(fault="kill pool child"), Work()])
    assert wait_for(lambda: mill.row(deadly).state == "quarantined", 90), mill.log()
    tally = mill.wait_done([harmless])

    assert (mill.row(deadly).attempt, tally.lost) == (3, 0)
    assert is_alive(worker), worker.log
    measured(starts=mill.row(deadly).attempt, lost=tally.lost)


@pytest.mark.fault(6)
def test_a_job_that_kills_every_worker_is_quarantined_and_the_others_get_done(mill: Mill, measured):
    begun = time.monotonic()
    with mill.kept(2, TWEETMILL_LEASE="2") as deaths:
        [poison] = enqueue([Work(fault="kill worker")])
        others = enqueue([Work(rows=2, pause=0.1)] * 10)
        assert wait_for(lambda: mill.row(poison).state == "quarantined", 120), mill.log()
        took = time.monotonic() - begun
        tally = mill.wait_done(others)

    row = mill.row(poison)
    assert (row.attempt, row.failures, len(deaths)) == (3, 3, 3), mill.log()
    assert row.error["worker"] == row.owner
    assert (tally.lost, tally.rows, tally.extra) == (0, 20, 0)
    measured(starts=row.attempt, quarantined_seconds=round(took, 1), lost=tally.lost, others_done=tally.done)


@pytest.mark.fault(7)
def test_a_job_out_of_memory_is_told_apart_and_tried_no_more_than_thrice(mill: Mill, measured):
    [worker] = mill.workers(1)
    greedy, modest = enqueue([Work(fault="exhaust memory"), Work()])
    assert wait_for(lambda: mill.row(greedy).state == "quarantined", 60), mill.log()

    row = mill.row(greedy)
    assert (row.attempt, row.error["class"]) == (3, "MemoryError")
    assert row.error["worker"] == worker.name
    tally = mill.wait_done([modest])
    assert tally.lost == 0
    assert is_alive(worker), "it was the job that ran out of memory"
    measured(starts=row.attempt, lost=tally.lost)


@pytest.mark.fault(8)
def test_a_worker_that_wakes_up_after_its_lease_writes_nothing_more(mill: Mill, measured):
    mill.workers(2)
    [job] = enqueue([Work(rows=12, pause=0.25)])
    assert wait_for(lambda: started(mill, job, rows=3)), mill.log()
    zombie = mill.owner(job)
    frozen = process_tree(zombie)
    send(frozen, signal.SIGSTOP)
    try:
        before = mill.attempts_of_rows(job)
        recovered = seconds_until(lambda: mill.row(job).attempt == 2, 30)
        # It wakes up in the middle of the other's work, so both would write if both might.
        assert wait_for(lambda: len(mill.attempts_of_rows(job)) > len(before))
    finally:
        send(frozen, signal.SIGCONT)

    tally = mill.wait_done([job])
    rows = mill.attempts_of_rows(job)
    assert rows == before + [2] * (12 - len(before)), mill.log()
    assert wait_for(lambda: "lost the lease" in zombie.log), zombie.log
    assert is_alive(zombie)
    measured(recovered_seconds=recovered, fenced=zombie.log.count("lost the lease"), rows_of_the_zombie=rows.count(1) - len(before))
    assert (tally.lost, tally.starts) == (0, 2)


@pytest.mark.fault(11)
def test_an_idle_worker_leaves_when_asked(mill: Mill, measured):
    worker = mill.only()
    asked = time.monotonic()
    worker.signal(signal.SIGTERM)
    code = worker.exit_code(seconds=30)
    took = round(time.monotonic() - asked, 2)
    measured(exit_code=code, seconds=took)
    assert (code, took < 20) == (0, True), worker.log  # a lease is longer, and so is a job's drain


@pytest.mark.fault(12)
def test_a_worker_killed_while_it_leaves_costs_a_lease_and_no_failure(mill: Mill, measured):
    mill.workers(0)
    mill.start(2)
    [job] = enqueue([Work(pause=6)])
    assert wait_for(lambda: mill.row(job).state == "running"), mill.log()
    stubborn = mill.owner(job)
    stubborn.signal(signal.SIGTERM)
    assert wait_for(lambda: mill.row(job).orders == "drain", 10), stubborn.log
    stubborn.kill_all()
    recovered = seconds_until(lambda: mill.row(job).attempt == 2, 30)

    tally = mill.wait_done([job])
    measured(recovered_seconds=recovered, lost=tally.lost, failures=tally.failures, preemptions=tally.preemptions)
    assert (tally.lost, tally.rows, tally.failures, tally.preemptions) == (0, 1, 0, 1), mill.log()
    assert recovered < LEASE + 10, "it waited for Redis, not for the lease"


@pytest.mark.fault(28)
def test_clocks_that_are_two_hours_wrong_start_no_job_twice(mill: Mill, measured):
    mill.workers(1)
    ahead = mill.start(app="tests.support.shifted:app", TESTS_CLOCK_SHIFT="7200")
    behind = mill.start(app="tests.support.shifted:app", TESTS_CLOCK_SHIFT="-7200")
    jobs = enqueue([Work(rows=5, pause=0.2)] * 12)
    tally = mill.wait_done(jobs)

    owners = {mill.row(job).owner for job in jobs}
    assert {worker.name for worker in ahead + behind} <= owners, "all of them worked"
    assert all("clock is shifted" in worker.log for worker in ahead + behind)
    measured(lost=tally.lost, extra_starts=tally.extra, rows=tally.rows)
    assert (tally.lost, tally.extra, tally.rows) == (0, 0, 60), mill.log()


@pytest.mark.fault(29)
def test_relays_of_two_workers_publish_each_job_once_and_one_of_them_may_die(mill: Mill, measured):
    doomed, heir = mill.start(2)
    first = enqueue([Work(rows=2, pause=0.05)] * 20, publish=False)
    tally = mill.wait_done(first)
    assert (tally.lost, tally.extra, tally.rows) == (0, 0, 40), mill.log()

    doomed.kill_all()
    second = enqueue([Work(rows=2, pause=0.05)] * 10, publish=False)
    age = seconds_until(lambda: any(mill.row(job).published_at or mill.row(job).attempt for job in second), 30)
    after = mill.wait_done(second)
    measured(lost=tally.lost + after.lost, extra_starts=tally.extra + after.extra, backlog_age_seconds=age)
    assert (after.lost, after.extra, after.rows) == (0, 0, 20), heir.log


@pytest.mark.fault(39)
def test_all_workers_are_restarted_one_by_one_under_load(mill: Mill, measured, thorough: bool):
    mill.workers(0)
    serving = mill.start(3 if thorough else 2)
    jobs = enqueue([Work(rows=5, pause=0.1)] * (120 if thorough else 30))
    codes = []
    for leaving in list(serving):
        assert wait_for(lambda: mill.tally(jobs).starts > len(jobs) * len(codes) / 6), mill.log()
        leaving.signal(signal.SIGTERM)
        codes.append(leaving.exit_code(seconds=30))
        mill.start()

    tally = mill.wait_done(jobs, 120)
    assert codes == [0] * len(serving), mill.log()
    assert (tally.lost, tally.rows, tally.failures) == (0, 5 * len(jobs), 0), mill.log()
    assert tally.extra == tally.preemptions, "a job started again without having been given back"
    measured(lost=tally.lost, failures=tally.failures, given_back=tally.preemptions, jobs=len(jobs), restarts=len(codes))
