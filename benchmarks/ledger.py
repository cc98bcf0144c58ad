"""What the ledger adds to a job that does nothing: claim, lease, events and fenced end in Postgres, against a bare message.

Every message is published before the clock stops for lack of any: how upkeep meters messages to workers is not measured here.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import text

from benchmarks import plain
from benchmarks.measure import Comparison, Way, compare
from benchmarks.servers import empty, wait_for, worker
from schemas.payloads import Payload, Queue
from workers import attempt, ledger
from workers.app import CarefulTask, LazyCelery, publish
from workers.attempt import Attempt, Outcome
from workers.settings import get_settings
from workers.store import transaction

JOBS, QUICK_JOBS = 500, 20
NOOP = "benchmarks.noop"
QUEUE = Queue.UPKEEP.value


class Nothing(Payload):
    """The payload of a job that does nothing."""


class WithNoop(LazyCelery):
    """The real app and one task more, which the worker's child process imports too."""

    def _load_config(self) -> Any:
        self._preconf["imports"] = ("benchmarks.ledger",)
        return super()._load_config()


app = WithNoop("tweetmill", task_cls=CarefulTask, set_as_current=False)


@app.task(name=NOOP, bind=True)  # type: ignore[untyped-decorator]
def noop(task: Any, job_id: str) -> None:
    """Claim the job, do nothing, and finish it."""
    attempt.run(job_id, task.request.hostname, Nothing, _nothing, NOOP)


def _nothing(_: Attempt, __: Nothing) -> Outcome:
    return Outcome()


def run(*, quick: bool) -> Comparison:
    """500 jobs, one worker each way, from the first message to the last job's end."""
    count, folder = QUICK_JOBS if quick else JOBS, get_settings().home
    with worker("benchmarks.ledger:app", QUEUE, folder), worker("benchmarks.plain:app", plain.QUEUE, folder):
        return compare(
            Way("plain Celery", lambda: _bare(count, folder), prepare=_forget_jobs),
            [Way("Celery with the ledger", lambda: _kept(count), prepare=_forget_jobs)],
            unit="jobs that do nothing",
        )


def _forget_jobs() -> None:
    empty("job")


def _bare(count: int, folder: Path) -> int:
    last = folder / f"last-{uuid.uuid4().hex}"
    for _ in range(count - 1):
        plain.noop.delay()
    plain.noop.delay(str(last))
    wait_for(last.exists, "the last message")
    return count


def _kept(count: int) -> int:
    jobs = [ledger.NewJob(kind=NOOP, queue=QUEUE, payload=Nothing(), idempotency_key=uuid.uuid4().hex) for _ in range(count)]
    with transaction() as connection:
        ids = ledger.insert(connection, jobs)
        connection.execute(text("UPDATE job SET published_at = now()"))
    for job in ids:
        publish(NOOP, QUEUE, job)
    wait_for(lambda: _open_jobs() == 0, "the last job")
    with transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM job WHERE state = 'done'")).scalar_one())


def _open_jobs() -> int:
    with transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM job WHERE state IN ('queued', 'running')")).scalar_one())
