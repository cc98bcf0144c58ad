"""The connection breaks while an attempt's end is committed: on the way to Postgres, or when the answer was already on its way back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.states import JobState
from tests.conftest import Servers
from tests.support import jobs
from tests.support.jobs import Work, add, row
from tests.support.proxy import Proxy
from workers.database import get_engine
from workers.errors import Unavailable, UserError
from workers.jobs import attempt, fanout
from workers.jobs.context import JobContext, Outcome, Stopped
from workers.settings import get_settings

REQUEST, ANSWER = b"Q", b"C"  # the first byte of what Postgres's protocol sends for each


class BreakingLine(Proxy):
    """Breaks once, when a COMMIT passes in the direction that it waits for."""

    breaks_at: bytes | None = None
    broke = 0

    async def _pump(self, link: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: object = None) -> None:
        while chunk := await reader.read(65_536):
            if self.breaks_at == chunk[:1] and b"COMMIT" in chunk:
                self.breaks_at = None
                self.broke += 1
                raise ConnectionError
            writer.write(chunk)
            await writer.drain()
        writer.close()


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


@pytest.fixture
def line(engine: Engine, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[BreakingLine]:
    """What lies between an attempt and Postgres; the test itself looks past it."""
    folder = servers.home / "run" / "postgres" / ".s.PGSQL.5432"
    with BreakingLine(folder) as line:
        monkeypatch.setenv("DATABASE_URL", f"postgresql://tweetmill@127.0.0.1:{line.port}/tweetmill")
        get_settings.cache_clear()
        yield line
        get_engine().dispose()
    monkeypatch.undo()
    get_settings.cache_clear()


def succeed(at: JobContext) -> Outcome:
    number = "INSERT INTO metric VALUES (:job, 1, 'loss', 2)"
    return Outcome({"rows": 1}, lambda connection: connection.execute(text(number), {"job": at.job}))


def raising(error: Exception) -> Callable[[JobContext], Outcome]:
    def body(_: JobContext) -> Outcome:
        raise error

    return body


ENDS = {
    "done": (succeed, "done", 0, 0),
    "failed": (raising(UserError("no such file")), "failed", 0, 0),
    "failure": (raising(RuntimeError("it broke")), "queued", 1, 0),
    "cancelled": (raising(Stopped("cancel")), "cancelled", 0, 0),
    "released": (raising(Stopped("drain")), "queued", 0, 1),
    "given back": (raising(Unavailable()), "queued", 0, 1),
}


@pytest.mark.parametrize("where", [REQUEST, ANSWER], ids=["before the commit", "after the commit"])
@pytest.mark.parametrize("end", ENDS)
def test_an_end_is_written_once_wherever_the_connection_breaks(engine, line, caplog, end, where):
    end_with, state, failures, preemptions = ENDS[end]

    def body(at: JobContext, _: Work) -> Outcome:
        line.breaks_at = where
        return end_with(at)

    job = add(engine)
    with caplog.at_level(logging.INFO):
        attempt.run(str(job), "worker@here", Work, body)

    ended = row(engine, job)
    assert line.broke == 1
    assert (ended.state, ended.failures, ended.preemptions) == (state, failures, preemptions)
    assert len(jobs.events(engine, job)) == 3, "enqueued, claimed, and one end"
    assert "lost the lease" not in caplog.text, "it mistook its own success for another's"
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM metric")).scalar_one() == (end == "done")


def test_an_end_that_came_through_is_known_though_another_has_taken_the_job_since(engine, line, caplog, monkeypatch):
    def body(_: JobContext, __: Work) -> Outcome:
        line.breaks_at = ANSWER
        raise Stopped("drain")

    job = add(engine)
    # The pause before the next try is when another worker claims it.
    monkeypatch.setattr(attempt.time, "sleep", lambda _: jobs.claimed(engine, job, "other@there"))
    with caplog.at_level(logging.INFO):
        attempt.run(str(job), "worker@here", Work, body)
    assert "lost the lease" not in caplog.text
    assert (row(engine, job).attempt, row(engine, job).owner, jobs.state(engine, job)) == (2, "other@there", "running")


def test_an_attempt_that_lost_its_job_during_the_outage_writes_nothing(engine, line, caplog, monkeypatch):
    def body(at: JobContext, _: Work) -> Outcome:
        line.breaks_at = REQUEST
        return succeed(at)

    def lose(_: float) -> None:
        jobs.alter(engine, job, "state = 'queued', attempt = attempt + 1")
        with engine.begin() as connection:
            fanout.cancel(connection, job)

    job = add(engine)
    monkeypatch.setattr(attempt.time, "sleep", lose)
    with caplog.at_level(logging.INFO):
        attempt.run(str(job), "worker@here", Work, body)
    assert "lost the lease" in caplog.text
    assert JobState(jobs.state(engine, job)) is JobState.CANCELLED
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM metric")).scalar_one() == 0
