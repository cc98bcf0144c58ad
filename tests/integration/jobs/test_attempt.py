"""One attempt at a job: what a job's code returns or raises becomes the job's next state."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support import jobs
from tests.support.jobs import Work, add, row, state
from workers.errors import LeaseLost, Unavailable, UserError
from workers.jobs import attempt, fanout, maintenance, worker_registry
from workers.jobs.attempt import Attempt
from workers.jobs.context import JobContext, Outcome
from workers.settings import get_settings

TWEET = "a secret tweet"
A_NUMBER = "INSERT INTO metric VALUES (:job, 1, 'loss', 2)"


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


@pytest.fixture
def quick(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """Leases of a second and a heartbeat ten times as quick."""
    monkeypatch.setenv("TWEETMILL_LEASE", "1")
    monkeypatch.setenv("TWEETMILL_HEARTBEAT", "0.1")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def run(job: uuid.UUID | str, body: Callable[[JobContext, Work], Outcome], **named: Any) -> None:
    attempt.run(str(job), "worker@here", Work, body, **named)


def raising(error: Exception) -> Callable[[JobContext, Work], Outcome]:
    def body(_: JobContext, __: Work) -> Outcome:
        raise error

    return body


def unreachable(_: JobContext, __: Work) -> Outcome:
    raise AssertionError("there was nothing to claim")


def obedient(at: JobContext, _: Work) -> Outcome:
    """Works until it must stop."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        at.check()
        time.sleep(0.02)
    return Outcome()


def test_a_body_that_returns_is_done_and_its_writes_are_committed_with_it(engine):
    job = add(engine, payload=Work(name="mine"))

    def body(at: JobContext, work: Work) -> Outcome:
        at.progress(done=3)
        at.log("half way")
        return Outcome({"name": work.name}, lambda connection: connection.execute(text(A_NUMBER), {"job": job}))

    run(job, body)
    ended = row(engine, job)
    assert (ended.state, ended.result, ended.progress) == ("done", {"name": "mine"}, {"done": 3})
    assert jobs.events(engine, job) == ["enqueued", "claimed", "log", "done"]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM metric")).scalar_one() == 1


@pytest.mark.parametrize("forged", ["", "x", "' OR 1=1", None, 5, ["a"], "7f0c1c1e-3a51-4a0b-9c5e-0d1f2a3b4c5d"])
def test_a_message_without_a_job_ends_quietly(engine, forged):
    attempt.run(forged, "worker@here", Work, unreachable)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM job_event")).scalar_one() == 0


def test_a_second_delivery_ends_quietly(engine):
    job = add(engine)
    run(job, lambda *_: Outcome())
    run(job, unreachable)
    assert row(engine, job).attempt == 1


def test_a_job_of_another_kind_is_not_touched(engine):
    job = add(engine, kind="training.train")
    run(job, unreachable, kind="summarization.summarize_shard")
    assert state(engine, job) == "queued"


def test_a_mistake_of_the_user_fails_at_once_and_is_not_tried_again(engine):
    job = add(engine)
    run(job, raising(UserError("no such dataset. `tweetmill synthesize` builds one")))
    ended = row(engine, job)
    assert (ended.state, ended.attempt, ended.failures) == ("failed", 1, 0)
    assert ended.error["message"] == "no such dataset. `tweetmill synthesize` builds one"
    assert ended.error["worker"] == "worker@here"


def test_a_payload_of_another_version_fails_with_its_fields_named(engine):
    job = add(engine)
    jobs.alter(engine, job, """payload = '{"nmae": "x"}'""")
    run(job, unreachable)
    assert state(engine, job) == "failed"
    assert row(engine, job).error["message"] == "the payload does not fit this version of tweetmill: nmae"


def test_any_other_error_is_tried_again_later_and_shows_where_it_happened(engine):
    job = add(engine)
    run(job, raising(RuntimeError("out of memory\nsecond line")))
    waiting = row(engine, job)
    assert (waiting.state, waiting.failures) == ("queued", 1)
    assert (waiting.error["class"], waiting.error["message"]) == ("RuntimeError", "out of memory")
    assert "in body" in waiting.error["log_tail"]


def test_an_error_while_results_are_written_is_a_failure_like_any_other(engine):
    job = add(engine)
    run(job, lambda *_: Outcome(writes=lambda connection: connection.execute(text("INSERT INTO nowhere VALUES (1)"))))
    waiting = row(engine, job)
    assert (waiting.state, waiting.failures, waiting.error["class"]) == ("queued", 1, "ProgrammingError")


def test_a_server_that_does_not_answer_is_not_the_jobs_fault(engine):
    job = add(engine)
    run(job, raising(Unavailable()))
    waiting = row(engine, job)
    assert (waiting.state, waiting.failures, waiting.preemptions) == ("queued", 0, 1)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT run_after > now() FROM job")).scalar_one()


def test_neither_row_nor_log_quotes_what_the_database_quotes(engine, caplog):
    job = add(engine)

    def body(at: JobContext, _: Work) -> Outcome:
        with at.flush() as connection:
            connection.execute(text("INSERT INTO metric SELECT :job, cast(:text AS int), 'a', 1"), {"job": job, "text": TWEET})
        return Outcome()

    with caplog.at_level(logging.DEBUG):
        run(job, body)
    assert state(engine, job) == "queued"
    assert "the attempt failed" in caplog.text
    assert TWEET not in caplog.text
    assert TWEET not in str(row(engine, job).error)


# Orders


def test_a_running_job_hears_a_cancel_at_its_next_renewal(engine, quick):
    job = add(engine)

    def cancel() -> None:
        with engine.begin() as connection:
            fanout.cancel(connection, job)

    threading.Timer(0.3, cancel).start()
    begun = time.monotonic()
    run(job, obedient)
    assert time.monotonic() - begun < 5
    assert state(engine, job) == "cancelled"


def test_a_running_job_hears_that_its_worker_leaves_and_is_given_back(engine, quick):
    job = add(engine)

    def depart() -> None:
        with engine.begin() as connection:
            worker_registry.leave(connection, "worker@here", 1)

    threading.Timer(0.3, depart).start()
    run(job, obedient)
    assert (state(engine, job), row(engine, job).failures, row(engine, job).preemptions) == ("queued", 0, 1)


def test_renewals_keep_a_job_that_takes_longer_than_its_lease(engine, quick):
    job = add(engine)

    def patient(at: JobContext, _: Work) -> Outcome:
        for _ in range(20):
            time.sleep(0.1)
            at.check()
            with engine.begin() as connection:
                assert maintenance.reap(connection) == []
        return Outcome()

    run(job, patient)
    assert (state(engine, job), row(engine, job).attempt) == ("done", 1)


def test_an_attempt_that_lost_its_lease_stops_and_writes_nothing(engine, quick):
    job = add(engine)

    def overtaken(at: JobContext, _: Work) -> Outcome:
        jobs.alter(engine, job, "attempt = attempt + 1, owner = 'other@there'")
        with pytest.raises(LeaseLost), at.flush() as connection:
            connection.execute(text(A_NUMBER), {"job": job})
        return obedient(at, _)

    run(job, overtaken)
    assert (state(engine, job), row(engine, job).owner) == ("running", "other@there")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM metric")).scalar_one() == 0


def test_an_attempt_cut_off_from_postgres_stops_before_another_may_begin(engine, quick):
    job = add(engine)
    stopped_after: list[float] = []

    def cut_off(at: Attempt, work: Work) -> Outcome:
        at.renew = lambda: None  # type: ignore[method-assign]  # no renewal gets through
        begun = time.monotonic()
        try:
            return obedient(at, work)
        finally:
            stopped_after.append(time.monotonic() - begun)

    run(job, cut_off)
    assert stopped_after[0] < 1.0, "the lease is one second"
    assert state(engine, job) == "running", "it is left to the reaper"
