"""Appends the events of jobs, in the transaction that made them happen. `tweetmill logs` reads them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import Connection, text

# Raw: appended without reading the new row's id back; the attempts of many jobs are those that their rows have at that moment.
_RECORD = "INSERT INTO job_event (job, attempt, event, detail) VALUES (:job, :attempt, :event, :detail)"
_RECORD_MANY = "INSERT INTO job_event (job, attempt, event) SELECT id, attempt, :event FROM job WHERE id = ANY(:jobs)"


def record(connection: Connection, job: uuid.UUID, attempt: int, event: str, detail: str | None = None) -> None:
    """Append one event. `detail` is never a tweet."""
    connection.execute(text(_RECORD), {"job": job, "attempt": attempt, "event": event, "detail": detail})


def record_many(connection: Connection, jobs: Sequence[uuid.UUID], event: str) -> None:
    """Append the same event to many jobs, in one statement."""
    if jobs:
        connection.execute(text(_RECORD_MANY), {"jobs": list(jobs), "event": event})
