"""Work for tests of the ledger: it writes rows under its attempt's fence, and fails in the way that its payload says.

    celery -A tests.support.work:app worker -Q upkeep

The app is the real one with one task more. Each row is a `metric` of the job, so that one written twice would be refused, not hidden.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import text

from schemas.payloads import Payload, Queue
from tasks.enqueue import publish_now
from workers.app import LazyCelery
from workers.database import transaction
from workers.jobs import attempt, ledger
from workers.jobs.context import JobContext, Outcome

KIND = "test.work"
QUEUE = Queue.MAINTENANCE
Fault = Literal["raise", "exhaust memory", "kill worker", "kill pool child", "kill between rows and commit"]


class Work(Payload):
    """`rows` rows, each after `pause` seconds; the fault strikes before the last row is committed.

    Before the first row it works for `watch` seconds, and looks every 50 ms whether it must stop. It needs no server for that, so its
    `diary` tells when it worked: lines of attempt and monotonic time (seconds, the same clock for all processes of this machine). A file
    beside the diary, with the suffix `enough`, ends it early.
    """

    rows: int = 1
    pause: float = 0.0
    watch: float = 0.0
    diary: Path | None = None
    fault: Fault | None = None
    faulty_attempts: int = 1_000_000


class WithWork(LazyCelery):
    """The real app and this module's task, which a worker's pool child imports too."""

    def _load_config(self) -> Any:
        self._preconf["imports"] = ("tests.support.work",)
        return super()._load_config()


app = WithWork("tweetmill", set_as_current=False)


@app.task(name=KIND, bind=True)  # type: ignore[untyped-decorator]
def work(task: Any, job_id: str) -> None:
    """Do the work of one job."""
    attempt.run(job_id, task.request.hostname, Work, _work, KIND)


def _work(held: JobContext, spec: Work) -> Outcome:
    _watch(held, spec)
    with transaction() as connection:
        done = connection.execute(text("SELECT count(*) FROM metric WHERE job = :job"), {"job": held.job}).scalar_one()
    for row in range(done, spec.rows):
        time.sleep(spec.pause)
        held.check()
        strikes = row == spec.rows - 1 and held.number <= spec.faulty_attempts
        if strikes:
            _misbehave(spec.fault)
        with held.flush() as connection:
            connection.execute(
                text("INSERT INTO metric (job, step, name, value) VALUES (:job, :step, 'row', :attempt)"),
                {"job": held.job, "step": row, "attempt": held.number},
            )
            if strikes and spec.fault == "kill between rows and commit":
                os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(result={"rows": spec.rows})


def _watch(held: JobContext, spec: Work) -> None:
    until = time.monotonic() + spec.watch
    while time.monotonic() < until:
        held.check()
        if spec.diary is not None:
            if spec.diary.with_suffix(".enough").exists():
                return
            with spec.diary.open("a") as out:
                out.write(f"{held.number} {time.monotonic()}\n")
        time.sleep(0.05)


def _misbehave(fault: Fault | None) -> None:
    if fault == "raise":
        raise RuntimeError("as it was told")
    if fault == "exhaust memory":
        raise MemoryError
    if fault == "kill worker":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    if fault == "kill pool child":
        os.kill(os.getpid(), signal.SIGKILL)


def enqueue(specs: Sequence[Work], *, publish: bool = True) -> list[uuid.UUID]:
    """Put jobs into the ledger, and publish them as a producer would."""
    jobs = [ledger.NewJob(kind=KIND, queue=QUEUE.value, payload=spec, idempotency_key=uuid.uuid4().hex) for spec in specs]
    with transaction() as connection:
        ids = ledger.insert(connection, jobs)
    if publish:
        publish_now(QUEUE)
    return ids
