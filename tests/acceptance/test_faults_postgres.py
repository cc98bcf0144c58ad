"""Postgres dies, is out of reach, or takes no writes: no job is done without its rows, and none has two holders."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.mill import LEASE, Mill, is_alive, seconds_until
from tests.support.proxy import Proxy
from tests.support.work import Work, enqueue
from tests.support.worker_process import wait_for
from workers.jobs import ledger


@pytest.mark.fault(21)
def test_postgres_dies_in_the_middle_of_jobs_which_go_on_when_it_is_back(mill: Mill, measured, tmp_path: Path):
    mill.workers(0)
    mill.start(2, TWEETMILL_LEASE="20")
    # One works on until Postgres is back, the other has rows to write while it is away and is given back.
    diary = tmp_path / "unaware"
    unaware, writing = enqueue([Work(watch=120, diary=diary), Work(rows=60, pause=0.1)])
    assert wait_for(lambda: worked(diary, 1) and len(mill.attempts_of_rows(writing)) > 2), mill.log()
    with mill.without(mill.postgres, signal.SIGQUIT):
        time.sleep(2)
    back = time.monotonic()
    diary.with_suffix(".enough").touch()
    tally = mill.wait_done([unaware, writing])

    measured(
        lost=tally.lost,
        rows=tally.rows,
        failures=tally.failures,
        attempts_of_the_unaware=mill.row(unaware).attempt,
        attempts_of_the_writing=mill.row(writing).attempt,
        all_done_seconds=round(time.monotonic() - back, 1),
    )
    assert (tally.lost, tally.rows, tally.failures) == (0, 61, 0), mill.log()
    assert mill.row(unaware).attempt == 1
    assert mill.row(writing).attempt <= 2


@pytest.mark.fault(22)
def test_an_outage_of_postgres_longer_than_a_lease_is_not_the_fault_of_the_jobs(mill: Mill, measured):
    mill.workers(0)
    mill.start(2)
    jobs = enqueue([Work(rows=60, pause=0.2), Work(rows=60, pause=0.2)])
    assert wait_for(lambda: all(len(mill.attempts_of_rows(job)) > 2 for job in jobs)), mill.log()
    with mill.without(mill.postgres, signal.SIGQUIT):
        time.sleep(1.5 * LEASE)
    tally = mill.wait_done(jobs)

    measured(lost=tally.lost, rows=tally.rows, failures=tally.failures, given_back=tally.preemptions)
    assert (tally.lost, tally.rows, tally.failures) == (0, 120, 0), mill.log()


def worked(diary: Path, attempt: int) -> list[float]:
    """When an attempt worked, in seconds of the machine's monotonic clock."""
    lines = [line.split() for line in diary.read_text().splitlines()] if diary.exists() else []
    return [float(when) for number, when in lines if int(number) == attempt]


@pytest.mark.fault(22)
def test_a_worker_cut_off_from_postgres_stops_before_another_begins(mill: Mill, measured, thorough: bool, tmp_path: Path):
    """One is refused by Postgres, the other's line is mute. Each works on what needs no server, and two more wait to take over."""
    mill.workers(0)
    diaries = [tmp_path / "refused", tmp_path / "mute"]
    with Proxy(mill.postgres_socket) as refused, Proxy(mill.postgres_socket) as mute:
        for line in (refused, mute):
            mill.start(DATABASE_URL=f"postgresql://tweetmill@127.0.0.1:{line.port}/tweetmill")
        jobs = enqueue([Work(watch=120, diary=diary) for diary in diaries])
        assert wait_for(lambda: all(worked(diary, 1) for diary in diaries)), mill.log()
        heirs = mill.start(2)
        broken = time.monotonic()
        refused.refuse()
        mute.hold()
        taken_over = seconds_until(lambda: all(worked(diary, 2) for diary in diaries), 60)
        if thorough:
            time.sleep(max(0.0, broken + 30 - time.monotonic()))
        refused.forward()
        mute.forward()
        for diary in diaries:
            diary.with_suffix(".enough").touch()

        tally = mill.wait_done(jobs)
        stopped = max(worked(diary, 1)[-1] for diary in diaries) - broken
        overlap = max(worked(diary, 1)[-1] - worked(diary, 2)[0] for diary in diaries)
        figures = {"stopped_after_seconds": round(stopped, 1), "taken_over_seconds": taken_over}
        measured(lost=tally.lost, overlap_seconds=round(max(0.0, overlap), 2), **figures)
        assert overlap < 0, f"two held it at once\n{mill.log()}"
        assert stopped < LEASE
        assert (tally.lost, tally.rows, tally.starts) == (0, 2, 4), mill.log()

        for heir in heirs:
            heir.kill_all()
        later = enqueue([Work(pause=1)] * 2)
        assert mill.wait_done(later).lost == 0, f"they do not work again\n{mill.log()}"


@pytest.mark.fault(22)
def test_a_worker_that_vanishes_in_the_middle_of_a_transaction_keeps_no_job(mill: Mill, measured):
    """Postgres does not hear that it is gone, and rows that the open transaction has locked are passed over by every reaper."""
    mill.workers(0)
    jobs = enqueue([Work(), Work()], publish=False)
    with mill.engine.begin() as connection:
        held = [ledger.claim(connection, job, "vanished@test", LEASE) for job in jobs]
    renewing, writing = mill.engine.connect(), mill.engine.connect()
    ledger.renew(renewing, held[0])
    ledger.fence(writing, held[1])
    vanished = time.monotonic()
    try:
        mill.start()
        tally = mill.wait_done(jobs)
    finally:
        for connection in (renewing, writing):
            connection.invalidate()
    measured(lost=tally.lost, recovered_seconds=round(time.monotonic() - vanished, 1))
    assert (tally.lost, tally.starts) == (0, 4), mill.log()


@pytest.mark.fault(23)
def test_nothing_is_done_without_its_rows_while_postgres_takes_no_writes(mill: Mill, measured, thorough: bool):
    mill.workers(0)
    workers = mill.start(2, TWEETMILL_LEASE="8")
    jobs = enqueue([Work(rows=5, pause=0.2)] * 8)
    assert wait_for(lambda: mill.tally(jobs).rows > 2), mill.log()
    _take_writes(mill, False)
    try:
        time.sleep(10 if thorough else 3)
        frozen = mill.tally(jobs)
    finally:
        _take_writes(mill, True)
    back = time.monotonic()
    tally = mill.wait_done(jobs)

    false_successes = _done_without_rows(mill, rows=5)
    measured(
        lost=tally.lost,
        done_without_rows=false_successes,
        failures=tally.failures,
        done_meanwhile=frozen.done,
        all_done_seconds=round(time.monotonic() - back, 1),
    )
    assert (tally.lost, tally.rows, false_successes) == (0, 40, 0), mill.log()
    # What is shorter than a lease is no job's fault. Thoroughly, the two jobs that ran then lose their leases.
    assert tally.failures == 0 or thorough, mill.log()
    assert frozen.done < 8
    assert all(is_alive(worker) for worker in workers)


def _take_writes(mill: Mill, whether: bool) -> None:
    with mill.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f"ALTER SYSTEM SET default_transaction_read_only = {'off' if whether else 'on'}"))
        connection.execute(text("SELECT pg_reload_conf()"))
        connection.execute(text("RESET default_transaction_read_only"))


def _done_without_rows(mill: Mill, rows: int) -> int:
    with mill.engine.connect() as connection:
        short = "SELECT count(*) FROM job WHERE state = 'done' AND (SELECT count(*) FROM metric WHERE job = job.id) <> :rows"
        return connection.execute(text(short), {"rows": rows}).scalar_one()
