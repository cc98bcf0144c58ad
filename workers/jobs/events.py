"""Events: what happened to a job, appended in the transaction that made it happen. `tweetmill logs` reads them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import Connection, text


def record(connection: Connection, job: uuid.UUID, attempt: int, event: str, detail: str | None = None) -> None:
    """Append one event. `detail` is never a tweet."""
    connection.execute(
        text("INSERT INTO job_event (job, attempt, event, detail) VALUES (:job, :attempt, :event, :detail)"),
        {"job": job, "attempt": attempt, "event": event, "detail": detail},
    )


def record_many(connection: Connection, jobs: Sequence[uuid.UUID], event: str) -> None:
    """Append the same event to many jobs, in one statement."""
    if jobs:
        connection.execute(
            text("INSERT INTO job_event (job, attempt, event) SELECT id, attempt, :event FROM job WHERE id = ANY(:jobs)"),
            {"jobs": list(jobs), "event": event},
        )
