"""Redis dies, forgets, freezes, fills up, evicts, and is far away: jobs are rows in Postgres, and none is lost."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.mill import Mill, is_alive, seconds_until
from tests.support.proxy import Proxy
from tests.support.work import QUEUE, Work, enqueue
from tests.support.worker_process import wait_for


def is_running(mill: Mill, job) -> bool:
    return mill.row(job).state == "running"


def length(mill: Mill) -> int:
    """Messages that wait in Redis."""
    with mill.redis() as client:
        return client.llen(QUEUE.value)


@pytest.mark.fault(13)
def test_redis_killed_in_the_middle_of_a_job_does_not_touch_the_job(mill: Mill, measured, thorough: bool):
    away = 4 if thorough else 1.5
    mill.workers(1)
    [job] = enqueue([Work(rows=4, pause=(away + 2) / 4)])
    assert wait_for(lambda: is_running(mill, job)), mill.log()
    with mill.without(mill.valkey):
        time.sleep(away)
    [later] = enqueue([Work()])
    started = seconds_until(lambda: mill.row(later).attempt == 1, 60)

    tally = mill.wait_done([job, later])
    measured(lost=tally.lost, extra_starts=tally.extra, next_start_seconds=started, away_seconds=away)
    assert (tally.lost, tally.extra, tally.rows) == (0, 0, 5), mill.log()


@pytest.mark.fault(14)
@pytest.mark.timeout(600)
def test_jobs_are_accepted_while_redis_is_down_and_published_when_it_is_back(mill: Mill, measured, thorough: bool):
    count, away = (1000, 60) if thorough else (60, 2)
    mill.workers(2)
    jobs = []
    slowest = 0.0
    with mill.without(mill.valkey):
        until = time.monotonic() + away
        while len(jobs) < count or time.monotonic() < until:
            if len(jobs) < count:
                asked = time.monotonic()
                jobs += enqueue([Work()] * 10)
                slowest = max(slowest, time.monotonic() - asked)
            time.sleep(away / count * 10 * 0.5)
    published = seconds_until(lambda: _all_published(mill, jobs), 180)
    tally = mill.wait_done(jobs, 180)

    measured(
        jobs=count, lost=tally.lost, extra_starts=tally.extra, all_published_seconds=published, slowest_enqueue_seconds=round(slowest, 2)
    )
    assert (tally.lost, tally.extra) == (0, 0), mill.log()
    assert slowest < 30


def _all_published(mill: Mill, jobs) -> bool:
    return all(row.published_at or row.attempt for row in mill.rows(jobs))


@pytest.mark.fault(15)
def test_redis_forgets_everything_and_every_job_is_published_again(mill: Mill, measured):
    mill.workers(1)
    jobs = enqueue([Work(rows=3, pause=1)])
    assert wait_for(lambda: is_running(mill, jobs[0])), mill.log()
    jobs += enqueue([Work()] * 5)
    assert length(mill) == 5
    with mill.redis() as client:
        client.flushall()
    begun = time.monotonic()
    tally = mill.wait_done(jobs)
    measured(jobs=6, lost=tally.lost, extra_starts=tally.extra, all_done_seconds=round(time.monotonic() - begun, 1))
    assert (tally.lost, tally.extra, tally.rows) == (0, 0, 8), mill.log()


@pytest.mark.fault(16)
@pytest.mark.timeout(300)
def test_a_connection_that_died_without_a_word_is_noticed(mill: Mill, measured, thorough: bool):
    """Shortly, the line is mute for 3 s; thoroughly, its connections never come back, and only time-outs tell the worker so."""
    with Proxy(mill.valkey.socket) as line:
        worker = mill.only(CELERY_BROKER_URL=f"redis://127.0.0.1:{line.port}/0")
        [before] = enqueue([Work()])
        assert mill.wait_done([before]).lost == 0, worker.log
        if thorough:
            line.lose()
        else:
            line.hold()
            time.sleep(3)
            line.forward()
        jobs = enqueue([Work()] * 3)
        consuming = seconds_until(lambda: mill.tally(jobs).starts > 0, 120)
        tally = mill.wait_done(jobs, 120)
        measured(lost=tally.lost, extra_starts=tally.extra, consuming_again_seconds=consuming)
        assert (tally.lost, tally.extra, is_alive(worker)) == (0, 0, True), worker.log
        assert consuming < 60


@pytest.mark.fault(17)
def test_a_frozen_redis_delays_and_loses_nothing(mill: Mill, measured, thorough: bool):
    frozen = 25 if thorough else 3
    mill.workers(1)
    server = mill.valkey.process()
    server.send_signal(signal.SIGSTOP)
    try:
        time.sleep(frozen)
    finally:
        server.send_signal(signal.SIGCONT)
    [job] = enqueue([Work()])
    started = seconds_until(lambda: mill.row(job).attempt == 1, 60)
    tally = mill.wait_done([job])
    measured(lost=tally.lost, next_start_seconds=started, frozen_seconds=frozen)
    assert (tally.lost, tally.extra) == (0, 0), mill.log()


@pytest.mark.fault(18)
def test_a_full_redis_keeps_jobs_waiting_in_postgres(mill: Mill, measured, caplog):
    """A worker that starts meanwhile has the hardest time: it may end at once, and be started again."""
    with mill.kept(2) as deaths:
        with mill.redis() as client:
            client.config_set("maxmemory", "1kb")
        jobs = enqueue([Work(rows=2, pause=0.05)] * 30)
        mill.all[-1].kill_all()
        said = [record.getMessage() for record in caplog.records if record.name == "tasks.enqueue"]
        time.sleep(3)
        waiting = sum(row.state == "queued" for row in mill.rows(jobs))
        with mill.redis() as client:
            client.config_set("maxmemory", "0")
        drained = seconds_until(lambda: mill.tally(jobs).lost == 0, 90)
        tally = mill.tally(jobs)
    measured(lost=tally.lost, waited=waiting, drained_seconds=drained, worker_restarts=len(deaths))
    assert (tally.lost, tally.rows, tally.failures) == (0, 60, 0), mill.log()
    assert waiting == 30, "Redis was not full"
    assert any("waits in Postgres" in line for line in said), f"the producer was told {said}"


@pytest.mark.fault(19)
def test_queues_that_redis_evicted_are_published_again(mill: Mill, measured):
    mill.workers(1)
    jobs = enqueue([Work(rows=2, pause=1.5), *[Work()] * 30])
    assert wait_for(lambda: is_running(mill, jobs[0])), mill.log()
    held = length(mill)
    with mill.redis() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "1kb")
        evicted = wait_for(lambda: length(mill) == 0, 10)
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")
    assert evicted
    tally = mill.wait_done(jobs)
    measured(evicted=held, lost=tally.lost, extra_starts=tally.extra)
    assert held > 10
    assert (tally.lost, tally.extra, tally.rows) == (0, 0, 32), mill.log()


@pytest.mark.fault(20)
@pytest.mark.timeout(600)
def test_a_far_away_redis_and_postgres_cost_time_and_no_lease(mill: Mill, measured, thorough: bool):
    """Every answer of both servers comes 200 ms late. Lost packets look like this too: TCP sends them again."""
    with Proxy(mill.valkey.socket) as broker_line, Proxy(mill.postgres_socket) as database_line:
        database = f"postgresql://tweetmill@127.0.0.1:{database_line.port}/tweetmill"
        # A renewal is five answers, and one second: the lease bears the same relation to it as with the defaults.
        timing = {"TWEETMILL_LEASE": "15", "TWEETMILL_HEARTBEAT": "2.5"}
        worker = mill.only(CELERY_BROKER_URL=f"redis://127.0.0.1:{broker_line.port}/0", DATABASE_URL=database, **timing)
        broker_line.delay(0.2)
        database_line.delay(0.2)
        until = time.monotonic() + (120 if thorough else 6)
        jobs = []
        while time.monotonic() < until:
            jobs += enqueue([Work(rows=2, pause=0.1)])
            mill.wait_done(jobs, 30)
        tally = mill.wait_done(jobs, 30)
        measured(jobs=len(jobs), lost=tally.lost, lease_losses=mill.events("lease expired"), extra_starts=tally.extra)
        assert (tally.lost, tally.extra, tally.failures) == (0, 0, 0), worker.log
        assert mill.events("lease expired") == 0
        assert "lost the lease" not in worker.log
