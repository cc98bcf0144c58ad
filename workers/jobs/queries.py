"""Read-only queries about jobs: their rows, events, shards, metrics and rejected rows."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import CompoundSelect, Float, func, literal, text, union_all
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from schemas.states import JobState
from schemas.tables.jobs import Job, JobEvent
from schemas.tables.models import Metric
from schemas.tables.tweets import RejectedRow
from workers.errors import NotFound
from workers.jobs.members import MEMBER

# Raw: an aggregate over the JSON of many rows. A queued shard shows the progress of the attempt before it, and a failed one keeps the rows
# that it stored.
_SHARDS = """
SELECT state, count(*) AS shards,
       sum(CASE WHEN state = 'done' THEN (payload->>'last')::bigint - (payload->>'first')::bigint
                ELSE coalesce((progress->>'done')::bigint, 0) END)::bigint AS done,
       sum((payload->>'last')::bigint - (payload->>'first')::bigint)::bigint AS total,
       array_agg(DISTINCT owner) FILTER (WHERE state = 'running' AND owner IS NOT NULL) AS workers
FROM job WHERE parent = :job AND kind <> :member GROUP BY state ORDER BY state
"""

_NOT_SHOWN = {"idempotency_key", "payload", "lease_until", "run_after", "published_at"}


@dataclass(frozen=True)
class JobStatus:
    """A job, and how many seconds it has run, or ran, by the clock of Postgres."""

    job: Job
    seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` shows."""
        return {**self.job.model_dump(exclude=_NOT_SHOWN), "seconds": self.seconds}


@dataclass(frozen=True)
class ShardCounts:
    """How many shards of a job are in each state. `rows` counts tweets; `workers` hold a shard at this moment."""

    states: dict[str, int] = field(default_factory=dict)
    rows_done: int = 0
    rows: int = 0
    workers: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.states.values())


_RUN_TIME = func.coalesce(col(Job.finished_at), func.now()) - col(Job.started_at)
_SECONDS = func.extract("epoch", _RUN_TIME).cast(Float)


def jobs(
    session: Session, *, state: JobState | None = None, kind: str | None = None, shards: bool = False, limit: int = 20
) -> list[JobStatus]:
    """Return the newest jobs.

    Args:
        session: an open one.
        state: only jobs in this state.
        kind: the task's name, or its beginning: `training`.
        shards: the shards of summarization jobs too.
        limit: at most this many.
    """
    statement = select(Job, _SECONDS).order_by(col(Job.created_at).desc(), col(Job.id)).limit(limit)
    # Only the conditions that are asked for: with all of them, each optional, Postgres would find no index for any.
    if state is not None:
        statement = statement.where(Job.state == state)
    if kind is not None:
        statement = statement.where(func.starts_with(Job.kind, kind))
    if not shards:
        statement = statement.where(col(Job.parent).is_(None))
    return [JobStatus(found, seconds) for found, seconds in session.exec(statement)]


def quarantined(session: Session) -> int:
    """Return how many jobs failed too often, shards included."""
    return session.exec(select(func.count()).where(Job.state == JobState.QUARANTINED)).one()


def job(session: Session, id_: uuid.UUID) -> Job:
    """Return one job.

    Raises:
        NotFound: there is none.
    """
    return job_status(session, id_).job


def job_status(session: Session, id_: uuid.UUID) -> JobStatus:
    """Return one job and how long it has run.

    Raises:
        NotFound: there is none.
    """
    found = session.exec(select(Job, _SECONDS).where(Job.id == id_)).one_or_none()
    if found is None:
        raise NotFound(f"job {id_}: there is none. `tweetmill jobs` lists them")
    return JobStatus(*found)


def events(session: Session, id_: uuid.UUID, *, after: int = 0, limit: int = 10_000) -> Sequence[JobEvent]:
    """Return the events of a job and its shards, oldest first, from the one that follows the id `after`."""
    return session.exec(_events(id_).where(JobEvent.id > after).order_by(col(JobEvent.id)).limit(limit)).all()


def last_events(session: Session, id_: uuid.UUID, *, limit: int) -> Sequence[JobEvent]:
    """Return the last events of a job and its shards, oldest first."""
    return session.exec(_events(id_).order_by(col(JobEvent.id).desc()).limit(limit)).all()[::-1]


def released_by(session: Session, id_: uuid.UUID, reason: str) -> set[str]:
    """Return the workers that gave a job back, for reasons in which `reason` occurs."""
    claimed, released = aliased(JobEvent), aliased(JobEvent)
    of_one_attempt = (col(released.job) == col(claimed.job)) & (col(released.attempt) == col(claimed.attempt))
    statement = select(col(claimed.detail)).distinct().join(released, of_one_attempt).where(col(claimed.job) == id_)
    found = session.exec(statement.where(claimed.event == "claimed", released.event == "released", col(released.detail).contains(reason)))
    return {worker for worker in found if worker is not None}


def _events(id_: uuid.UUID) -> SelectOfScalar[JobEvent]:
    # Joined, not looked up with OR: that would read the events of all jobs.
    own: CompoundSelect[Any] = union_all(select(literal(id_).label("id")), select(Job.id).where(Job.parent == id_))
    concerned = own.subquery("concerned")
    return select(JobEvent).join(concerned, col(JobEvent.job) == concerned.c.id)


def shards(session: Session, id_: uuid.UUID) -> ShardCounts:
    """Count the shards of a job by state; all zero for a job without any."""
    rows = session.connection().execute(text(_SHARDS), {"job": id_, "member": MEMBER}).all()
    return ShardCounts(
        states={row.state: row.shards for row in rows},
        rows_done=sum(row.done for row in rows),
        rows=sum(row.total for row in rows),
        workers=tuple(sorted(worker for row in rows for worker in row.workers or ())),
    )


def metrics(session: Session, id_: uuid.UUID, *, since: int = 0) -> Sequence[Metric]:
    """Return what a training job measured, by name and step, from the step `since` on."""
    measured = select(Metric).where(Metric.job == id_, Metric.step >= since)
    return session.exec(measured.order_by(col(Metric.name), col(Metric.step))).all()


def rejected(session: Session, id_: uuid.UUID, *, limit: int = 100) -> tuple[int, Sequence[RejectedRow]]:
    """Return how many rows a job had to leave out, and the first of them. Never their text."""
    count = session.exec(select(func.count()).where(RejectedRow.job == id_)).one()
    rows = session.exec(select(RejectedRow).where(RejectedRow.job == id_).order_by(col(RejectedRow.id)).limit(limit)).all()
    return count, rows
