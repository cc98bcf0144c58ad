"""Declare the tables of jobs: the jobs, their events, and the workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlmodel import Field, SQLModel

from schemas.states import FINAL_STATES, JobState
from schemas.tables import columns

_STATES = ", ".join(f"'{state.value}'" for state in JobState)


class Job(SQLModel, table=True):
    """A piece of work. The Celery message carries the id of this row and nothing else."""

    __tablename__ = "job"
    __table_args__ = (
        CheckConstraint(f"state IN ({_STATES})", name="job_state_is_known"),
        Index("job_queued", "queue", "created_at", postgresql_where=text("state = 'queued'")),
        # Jobs that come again are published ahead of a backlog that was never tried.
        Index("job_again", "queue", "created_at", postgresql_where=text("state = 'queued' AND attempt > 0")),
        Index("job_published", "queue", "published_at", postgresql_where=text("state = 'queued' AND published_at IS NOT NULL")),
        Index("job_lease", "lease_until", postgresql_where=text("state = 'running'")),
        Index("job_parent", "parent", postgresql_where=text("parent IS NOT NULL")),
        Index("job_created", "created_at"),
        # What `tweetmill retry` and people look for is rare among a million that are done.
        Index("job_unfinished", "state", "created_at", postgresql_where=text("state IN ('failed', 'cancelled', 'quarantined')")),
    )

    id: UUID = Field(primary_key=True)
    kind: str = Field(sa_type=Text, description="the task's name, such as training.train")
    queue: str = Field(sa_type=Text)
    idempotency_key: str = Field(sa_type=Text, unique=True)
    payload: dict[str, Any] = Field(sa_column=columns.json(empty="{}"))
    state: JobState = Field(sa_type=columns.State, sa_column_kwargs={"server_default": JobState.QUEUED.value})
    parent: UUID | None = Field(default=None, foreign_key="job.id")
    remaining: int | None = Field(default=None, description="unfinished shards of a parent")
    attempt: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    failures: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    preemptions: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    max_failures: int = Field(default=3, sa_column_kwargs={"server_default": "3"})
    owner: str | None = Field(default=None, sa_type=Text, description="worker that holds or last held it")
    lease_until: datetime | None = Field(default=None, sa_column=columns.moment())
    run_after: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
    published_at: datetime | None = Field(default=None, sa_column=columns.moment())
    created_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
    started_at: datetime | None = Field(default=None, sa_column=columns.moment())
    finished_at: datetime | None = Field(default=None, sa_column=columns.moment())
    progress: dict[str, Any] = Field(sa_column=columns.json(empty="{}"))
    result: dict[str, Any] | None = Field(default=None, sa_column=columns.json())
    error: dict[str, Any] | None = Field(default=None, sa_column=columns.json())
    orders: str | None = Field(default=None, sa_type=Text, description="cancel or drain, read at the next renewal")

    @property
    def final(self) -> bool:
        """Whether it has ended and stays so, unless somebody retries it."""
        return self.state in FINAL_STATES

    @property
    def run_seconds(self) -> float | None:
        """How long it ran; None before it has ended."""
        return (self.finished_at - self.started_at).total_seconds() if self.started_at and self.finished_at else None


class JobEvent(SQLModel, table=True):
    """An event of a job, appended and never changed. `tweetmill logs` reads it."""

    __tablename__ = "job_event"
    __table_args__ = (Index("job_event_job", "job", "id"),)

    id: int = Field(sa_column=columns.identity_key())
    job: UUID = Field(foreign_key="job.id", ondelete="CASCADE")
    at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
    attempt: int
    event: str = Field(sa_type=Text)
    detail: str | None = Field(default=None, sa_type=Text)


class Worker(SQLModel, table=True):
    """A registered worker; its maintenance thread refreshes `seen_at` every round."""

    __tablename__ = "worker"

    name: str = Field(primary_key=True, sa_type=Text)
    queues: str = Field(sa_type=Text, description="comma-separated")
    pid: int
    orders: str | None = Field(default=None, sa_type=Text, description="drain: finish or give back, then leave")
    left_at: datetime | None = Field(default=None, sa_column=columns.moment())
    started_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
    seen_at: datetime | None = Field(default=None, sa_column=columns.moment(now=True))
