"""Views: what there is to see of jobs. Read only."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from schemas.states import FINAL_STATES, JobState
from workers.errors import NotFound


@dataclass(frozen=True)
class JobView:
    """A job as it stands. `seconds` is how long it has run, or ran; `remaining` counts a parent's unfinished shards."""

    id: uuid.UUID
    kind: str
    queue: str
    state: JobState
    parent: uuid.UUID | None
    remaining: int | None
    attempt: int
    failures: int
    max_failures: int
    preemptions: int
    owner: str | None
    orders: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    progress: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def final(self) -> bool:
        """Whether nothing more will happen unless somebody asks for it."""
        return self.state in FINAL_STATES


_COLUMNS = """
SELECT id, kind, queue, state, parent, remaining, attempt, failures, max_failures, preemptions, owner, orders,
       created_at, started_at, finished_at,
       extract(epoch FROM coalesce(finished_at, now()) - started_at)::float8 AS seconds, progress, result, error
FROM job
"""


def _job(row: Row[Any]) -> JobView:
    return JobView(**{**row._mapping, "state": JobState(row.state)})


# Only the conditions that are asked for: with all of them, each optional, Postgres would find no index for any.
_LIST = f"""{_COLUMNS}
WHERE {{conditions}} ORDER BY created_at DESC, id LIMIT :limit
"""


def jobs(
    connection: Connection, *, state: JobState | None = None, kind: str | None = None, shards: bool = False, limit: int = 20
) -> list[JobView]:
    """The newest jobs.

    Args:
        connection: an open one.
        state: only this one.
        kind: the task's name, or its beginning: `training`.
        shards: the shards of summarization jobs too.
        limit: at most so many.
    """
    wanted = {"state = :state": state is not None, "starts_with(kind, :kind)": kind is not None, "parent IS NULL": not shards}
    conditions = " AND ".join(["true", *(condition for condition, applies in wanted.items() if applies)])
    values = {"state": state.value if state else None, "kind": kind, "limit": limit}
    return [_job(row) for row in connection.execute(text(_LIST.format(conditions=conditions)), values)]


def quarantined(connection: Connection) -> int:
    """How many jobs failed too often and wait for somebody to look at them, shards included."""
    return int(connection.execute(text("SELECT count(*) FROM job WHERE state = 'quarantined'")).scalar_one())


def job(connection: Connection, id_: uuid.UUID) -> JobView:
    """One job.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(text(f"{_COLUMNS} WHERE id = :job"), {"job": id_}).one_or_none()
    if row is None:
        raise NotFound(f"job {id_}: there is none. `tweetmill jobs` lists them")
    return _job(row)


@dataclass(frozen=True)
class EventView:
    """Something that happened to a job or one of its shards."""

    id: int
    job: uuid.UUID
    at: datetime
    attempt: int
    event: str
    detail: str | None


# Joined, not looked up with OR: that would read the events of all jobs.
_EVENTS = """
SELECT job_event.id, job, at, attempt, event, detail
FROM (SELECT cast(:job AS uuid) AS id UNION ALL SELECT id FROM job WHERE parent = :job) AS concerned
JOIN job_event ON job_event.job = concerned.id
WHERE job_event.id > :after ORDER BY job_event.id
"""


def events(connection: Connection, id_: uuid.UUID, *, after: int = 0, limit: int = 10_000) -> list[EventView]:
    """What happened to a job and its shards, oldest first, after the event with the id `after`."""
    rows = connection.execute(text(f"{_EVENTS} LIMIT :limit"), {"job": id_, "after": after, "limit": limit})
    return [EventView(**row._mapping) for row in rows]


def last_events(connection: Connection, id_: uuid.UUID, *, limit: int) -> list[EventView]:
    """What happened last to a job and its shards, oldest first."""
    rows = connection.execute(text(f"{_EVENTS} DESC LIMIT :limit"), {"job": id_, "after": 0, "limit": limit}).all()
    return [EventView(**row._mapping) for row in reversed(rows)]


@dataclass(frozen=True)
class ShardsView:
    """How the shards of a job stand. `rows` are tweets; `workers` hold a shard at this moment."""

    states: dict[str, int] = field(default_factory=dict)
    rows_done: int = 0
    rows: int = 0
    workers: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.states.values())


# A shard that waits shows the progress of the attempt before it, and one that failed keeps the rows that it stored.
_SHARDS = """
SELECT state, count(*) AS shards,
       sum(CASE WHEN state = 'done' THEN (payload->>'last')::bigint - (payload->>'first')::bigint
                ELSE coalesce((progress->>'done')::bigint, 0) END)::bigint AS done,
       sum((payload->>'last')::bigint - (payload->>'first')::bigint)::bigint AS total,
       array_agg(DISTINCT owner) FILTER (WHERE state = 'running' AND owner IS NOT NULL) AS workers
FROM job WHERE parent = :job GROUP BY state ORDER BY state
"""


def shards(connection: Connection, id_: uuid.UUID) -> ShardsView:
    """How the shards of a job stand; all zero for a job without any."""
    rows = connection.execute(text(_SHARDS), {"job": id_}).all()
    return ShardsView(
        states={row.state: row.shards for row in rows},
        rows_done=sum(row.done for row in rows),
        rows=sum(row.total for row in rows),
        workers=tuple(sorted(worker for row in rows for worker in row.workers or ())),
    )


@dataclass(frozen=True)
class MetricView:
    """One number of one training step."""

    step: int
    name: str
    value: float


def metrics(connection: Connection, id_: uuid.UUID) -> list[MetricView]:
    """What a training job measured, by name and step."""
    rows = connection.execute(text("SELECT step, name, value FROM metric WHERE job = :job ORDER BY name, step"), {"job": id_})
    return [MetricView(**row._mapping) for row in rows]


@dataclass(frozen=True)
class RejectedView:
    """A row that could not be used. Never its text."""

    origin: str
    row_key: str
    field: str | None
    reason: str


def rejected(connection: Connection, id_: uuid.UUID, *, limit: int = 100) -> tuple[int, Sequence[RejectedView]]:
    """How many rows a job had to leave out, and the first of them."""
    count = connection.execute(text("SELECT count(*) FROM rejected_row WHERE job = :job"), {"job": id_}).scalar_one()
    rows = connection.execute(
        text("SELECT origin, row_key, field, reason FROM rejected_row WHERE job = :job ORDER BY id LIMIT :limit"),
        {"job": id_, "limit": limit},
    )
    return count, [RejectedView(**row._mapping) for row in rows]
