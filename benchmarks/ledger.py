"""Measures what the ledger adds to a job that does nothing: claim, lease, events and fenced end in Postgres, against a bare message.

Three ways, each with a worker of one process. In the second all messages are published before the worker may run out of them; in the
third 2,000 jobs are enqueued at once, as tweetmill's fan-out does, and the relay publishes them as the worker takes them.
Besides the ratio, each step of a job is timed by itself, in this process.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks import plain
from benchmarks.measure import Comparison, Way, compare
from benchmarks.servers import drop_messages, empty, wait_for, worker
from schemas.payloads import Payload, Queue
from schemas.states import JobState
from tasks.enqueue import publish_now
from workers.app import LazyCelery, publish
from workers.database import transaction
from workers.jobs import attempt, events, ledger
from workers.jobs.attempt import Attempt
from workers.jobs.context import JobContext, Outcome
from workers.settings import get_settings

JOBS, QUICK_JOBS = 2000, 20
ROUNDS = 5
NOOP = "benchmarks.noop"
QUEUE = Queue.MAINTENANCE
_OTHER_QUEUE = Queue.SYNTHESIS.value  # which no worker of the benchmark serves


class Nothing(Payload):
    """The payload of a job that does nothing."""


class WithNoop(LazyCelery):
    """The real app and one task more, which the worker's child process imports too."""

    def _load_config(self) -> Any:
        self._preconf["imports"] = ("benchmarks.ledger",)
        return super()._load_config()


app = WithNoop("tweetmill", set_as_current=False)


@app.task(name=NOOP, bind=True)  # type: ignore[untyped-decorator]
def noop(task: Any, job_id: str) -> None:
    """Claim the job, do nothing, and finish it."""
    attempt.run(job_id, task.request.hostname, Nothing, _nothing, NOOP)


def _nothing(_: JobContext, __: Nothing) -> Outcome:
    return Outcome()


@dataclass(frozen=True)
class Cost:
    """The ratio, and milliseconds a job of each step."""

    comparison: Comparison
    steps: dict[str, float]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return self.comparison.as_dict() | {"milliseconds_per_job": self.steps}

    def lines(self) -> list[str]:
        """For people."""
        return [*self.comparison.lines(), "milliseconds a job:", *(f"  {step} {took:.2f}" for step, took in self.steps.items())]


def run(*, quick: bool) -> Cost:
    """2,000 jobs, one worker each way, from the first message to the last job's end."""
    count, folder = QUICK_JOBS if quick else JOBS, get_settings().home
    with worker("benchmarks.ledger:app", QUEUE, folder), worker("benchmarks.plain:app", plain.QUEUE, folder):
        ways = [
            Way("the ledger, all published at once", lambda: _published_at_once(count), prepare=_forget_jobs),
            Way("the ledger, handed out by the relay", lambda: _handed_out(count), prepare=_forget_jobs),
        ]
        subject = Way("plain Celery", lambda: _bare(count, folder), prepare=_forget_jobs)
        comparison = compare(subject, ways, unit="jobs that do nothing", rounds=ROUNDS)
    return Cost(comparison, _steps(count))


def _forget_jobs() -> None:
    empty("job")


def _bare(count: int, folder: Path) -> int:
    last = folder / f"last-{uuid.uuid4().hex}"
    for _ in range(count - 1):
        plain.noop.delay()
    plain.noop.delay(str(last))
    wait_for(last.exists, "the last message")
    return count


def _published_at_once(count: int) -> int:
    with transaction() as connection:
        ids = ledger.insert(connection, _new(count, QUEUE))
        connection.execute(text("UPDATE job SET published_at = now()"))
    for job in ids:
        publish(NOOP, QUEUE, job)
    return _all_done()


def _handed_out(count: int) -> int:
    with transaction() as connection:
        ledger.insert(connection, _new(count, QUEUE))
    publish_now(QUEUE)
    return _all_done()


def _new(count: int, queue: str) -> list[ledger.NewJob]:
    return [ledger.NewJob(kind=NOOP, queue=queue, payload=Nothing(), idempotency_key=uuid.uuid4().hex) for _ in range(count)]


def _all_done() -> int:
    wait_for(lambda: _open_jobs() == 0, "the last job", pause=0.05)  # polling more often would slow what it measures
    with transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM job WHERE state = 'done'")).scalar_one())


def _open_jobs() -> int:
    with transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM job WHERE state IN ('queued', 'running')")).scalar_one())


def _steps(count: int) -> dict[str, float]:
    """Milliseconds a job of each step, one after the other, each in transactions of its own as in the worker."""
    _forget_jobs()
    steps: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        steps[step] = round((time.perf_counter() - began) * 1000 / count, 3)

    with timed("insert, all in one statement"), transaction() as connection:
        ids = ledger.insert(connection, _new(count, _OTHER_QUEUE))
    with timed("publish the message"):
        for job in ids:
            publish(NOOP, _OTHER_QUEUE, job)
    drop_messages(_OTHER_QUEUE)
    with timed("claim"):
        claims = [_claim(job) for job in ids]
    held = [Attempt(claim, "worker@here", 10.0, 0.0) for claim in claims]
    with timed("start and stop the heartbeat"):
        for one in held:
            with one.kept_alive():
                pass
    with timed("finish"):
        for claim in claims:
            with transaction() as connection:
                ledger.finish(connection, claim, JobState.DONE, result={})
    with timed("of claim and of finish: an empty transaction"):
        for _ in ids:
            with transaction() as connection:
                connection.execute(text("SELECT 1"))
    with timed("of claim and of finish: the event, were it a statement of its own"), transaction() as connection:
        for job in ids:
            events.record(connection, job, 1, "measured")
    return steps


def _claim(job: uuid.UUID) -> ledger.Claim:
    with transaction() as connection:
        claim = ledger.claim(connection, job, "worker@here", 60.0)
    assert claim is not None
    return claim
