"""Short jobs to be hit by kills, kept in two ways: by a Celery message that is acknowledged late, and by a row of the ledger.

Both write to a diary when they begin and a row to the table `effect` when they are done. Nothing but the way hinders a second row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celery import Celery
from sqlalchemy import Connection, text

from schemas.payloads import Payload, Queue
from tasks.enqueue import publish_now
from workers.app import LazyCelery
from workers.database import transaction
from workers.jobs import attempt, ledger
from workers.jobs.context import JobContext, Outcome
from workers.settings import get_settings

PLAIN_QUEUE = "storm"
KEPT_QUEUE = Queue.MAINTENANCE
KEPT_KIND = "benchmarks.storm"
EFFECTS = "CREATE TABLE IF NOT EXISTS effect (number int NOT NULL)"


class Short(Payload):
    """A job of `pause` seconds that begins with a line in `diary` and ends with a row."""

    number: int
    pause: float
    diary: str


class Plain(Celery):  # type: ignore[misc]
    """Celery as it is told to be reliable with Redis: late acknowledgement, and redelivery after ten seconds."""

    def _load_config(self) -> Any:
        transport = {"visibility_timeout": 10, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}
        late = {"task_acks_late": True, "worker_prefetch_multiplier": 8, "task_ignore_result": True, "task_default_queue": PLAIN_QUEUE}
        self._preconf.update(late | {"broker_url": get_settings().broker(), "broker_transport_options": transport})
        return super()._load_config()


class Kept(LazyCelery):
    """The real app and one task more, which the worker's child process imports too."""

    def _load_config(self) -> Any:
        self._preconf["imports"] = ("benchmarks.storm",)
        return super()._load_config()


plain = Plain("plain", set_as_current=False)
kept = Kept("tweetmill", set_as_current=False)


@plain.task(name="plain.short")  # type: ignore[untyped-decorator]
def short(number: int, pause: float, diary: str) -> None:
    """Do one job whose message is all that there is of it."""
    _begin(Short(number=number, pause=pause, diary=diary))
    with transaction() as connection:
        _end(connection, number)


@kept.task(name=KEPT_KIND, bind=True)  # type: ignore[untyped-decorator]
def kept_short(task: Any, job_id: str) -> None:
    """Do one job of the ledger."""
    attempt.run(job_id, task.request.hostname, Short, _do, KEPT_KIND)


def _do(_: JobContext, job: Short) -> Outcome:
    _begin(job)
    return Outcome(writes=lambda connection: _end(connection, job.number))


def _begin(job: Short) -> None:
    line = os.open(job.diary, os.O_WRONLY | os.O_APPEND)
    os.write(line, b"%07d\n" % job.number)  # one write: no kill leaves half a line
    os.close(line)
    time.sleep(job.pause)


def _end(connection: Connection, number: int) -> None:
    connection.execute(text("INSERT INTO effect (number) VALUES (:number)"), {"number": number})


def begun(diary: Path) -> int:
    """How many times a job was begun."""
    return diary.stat().st_size // len(b"0000000\n")


def has_begun(diary: Path, jobs: int) -> bool:
    """Whether so many were."""
    return begun(diary) >= jobs


def send(jobs: Sequence[Short]) -> None:
    """Enqueue as one does with Celery alone."""
    for job in jobs:
        short.delay(job.number, job.pause, job.diary)


def enqueue(jobs: Sequence[Short]) -> None:
    """Enqueue as tweetmill's own families do."""
    rows = [ledger.NewJob(KEPT_KIND, KEPT_QUEUE.value, job, f"{job.diary} {job.number}") for job in jobs]
    with transaction() as connection:
        ledger.insert(connection, rows)
    publish_now(KEPT_QUEUE)
