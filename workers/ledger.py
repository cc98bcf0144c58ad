"""The ledger: every move of a job, as one fenced statement each.

The row in Postgres is the truth; the Celery message is a hint that carries the row's id. A claim raises `attempt` before the work
begins, and every later write names that attempt in its `WHERE`: the write of a worker that lost its lease changes nothing. All
times are Postgres's `now()`, so a worker's clock may be wrong. `docs/ledger.md` draws the states.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from schemas.payloads import Payload
from schemas.states import JobState, sources_of
from workers.errors import LeaseLost, NotFound, UserError
from workers.settings import get_settings


@dataclass(frozen=True)
class Claim:
    """The right to work on a job until `lease` seconds after the last renewal."""

    job: uuid.UUID
    kind: str
    attempt: int
    payload: dict[str, Any]
    parent: uuid.UUID | None
    lease: float


@dataclass(frozen=True)
class NewJob:
    """A job to be inserted. Equal idempotency keys are one job."""

    kind: str
    queue: str
    payload: Payload
    idempotency_key: str
    parent: uuid.UUID | None = None
    remaining: int | None = None
    state: JobState = JobState.QUEUED
    id: uuid.UUID = field(default_factory=uuid.uuid4)


_INSERT = """
INSERT INTO job (id, kind, queue, idempotency_key, payload, state, parent, remaining, max_failures, started_at)
SELECT row.id, row.kind, row.queue, row.key, row.payload, row.state, row.parent, row.remaining, :max_failures,
       CASE WHEN row.state = 'running' THEN now() END
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(id uuid, kind text, queue text, key text, payload jsonb, state text, parent uuid, remaining int)
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
"""


def insert(connection: Connection, jobs: Sequence[NewJob]) -> list[uuid.UUID]:
    """Insert jobs in one statement; return the ids of those that are new."""
    rows = [
        {"id": str(job.id), "kind": job.kind, "queue": job.queue, "key": job.idempotency_key, "state": job.state.value}
        | {"payload": job.payload.model_dump(mode="json"), "parent": str(job.parent) if job.parent else None, "remaining": job.remaining}
        for job in jobs
    ]
    values = {"rows": json.dumps(rows), "max_failures": get_settings().max_failures}
    new = [row.id for row in connection.execute(text(_INSERT), values)]
    _record_many(connection, new, "enqueued")
    return new


def find_by_key(connection: Connection, idempotency_key: str) -> uuid.UUID | None:
    """The job of this idempotency key, if there is one."""
    found = connection.execute(text("SELECT id FROM job WHERE idempotency_key = :key"), {"key": idempotency_key}).scalar()
    return uuid.UUID(str(found)) if found else None


_CLAIM = """
UPDATE job
SET state = 'running', attempt = attempt + 1, owner = :owner, lease_until = now() + make_interval(secs => :lease),
    failures = failures + (state = 'running')::int, orders = NULL, started_at = coalesce(started_at, now()), finished_at = NULL
WHERE id = :job AND run_after <= now() AND remaining IS NULL
  AND (state = 'queued' OR (state = 'running' AND lease_until < now() AND failures + 1 < max_failures AND orders IS NULL))
RETURNING kind, attempt, payload, parent
"""


def claim(connection: Connection, job: uuid.UUID, owner: str, lease: float) -> Claim | None:
    """Take a job, or None when it is not to be had: the delivery was a copy, or it is cancelled, done or held elsewhere.

    A job whose lease has expired is taken over, and that expiry counts as a failure; the last permitted failure is left to `reap`.
    """
    row = connection.execute(text(_CLAIM), {"job": job, "owner": owner, "lease": lease}).one_or_none()
    if row is None:
        return None
    _record(connection, job, row.attempt, "claimed", owner)
    return Claim(job=job, kind=row.kind, attempt=row.attempt, payload=row.payload, parent=row.parent, lease=lease)


_RENEW = """
UPDATE job SET lease_until = now() + make_interval(secs => :lease), progress = coalesce(cast(:progress AS jsonb), progress)
WHERE id = :job AND attempt = :attempt AND state = 'running'
RETURNING orders
"""


def renew(connection: Connection, held: Claim, progress: Mapping[str, Any] | None = None) -> str | None:
    """Prolong the lease and store `progress`; return the standing order: None, `cancel` or `drain`.

    Raises:
        LeaseLost: another attempt holds the job, or it is no longer running.
    """
    values = {"job": held.job, "attempt": held.attempt, "lease": held.lease, "progress": json.dumps(progress) if progress else None}
    row = connection.execute(text(_RENEW), values).one_or_none()
    if row is None:
        raise LeaseLost
    return str(row.orders) if row.orders else None


def fence(connection: Connection, held: Claim) -> None:
    """Lock the job's row for this transaction and make sure that this attempt still holds it.

    Raises:
        LeaseLost: it does not, and the transaction must write nothing.
    """
    found = connection.execute(
        text("SELECT 1 FROM job WHERE id = :job AND attempt = :attempt AND state = 'running' FOR SHARE"),
        {"job": held.job, "attempt": held.attempt},
    ).scalar()
    if found is None:
        raise LeaseLost


_FINISH = """
UPDATE job SET state = :state, result = coalesce(cast(:result AS jsonb), result), error = cast(:error AS jsonb),
    lease_until = NULL, orders = NULL, finished_at = now(), progress = progress || coalesce(cast(:progress AS jsonb), '{}'::jsonb)
WHERE id = :job AND attempt = :attempt AND state = ANY(:sources)
RETURNING parent
"""


def finish(
    connection: Connection,
    held: Claim,
    state: JobState,
    *,
    result: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    progress: Mapping[str, Any] | None = None,
) -> None:
    """Move a held job to a final state, and tell its parent. The results belong into the same transaction.

    Raises:
        LeaseLost: this attempt does not hold the job any more: roll back.
    """
    values = {"job": held.job, "attempt": held.attempt, "state": state.value, "sources": list(sources_of(state))}
    values |= {name: json.dumps(value) if value is not None else None for name, value in (("result", result), ("error", error), ("progress", progress))}
    row = connection.execute(text(_FINISH), values).one_or_none()
    if row is None:
        raise LeaseLost
    _record(connection, held.job, held.attempt, state.value, str(error["message"]) if error else None)
    if row.parent is not None:
        child_ended(connection, row.parent, failed=state is not JobState.DONE)


_FAIL = """
UPDATE job SET failures = failures + 1, error = cast(:error AS jsonb), lease_until = NULL, published_at = NULL, orders = NULL,
    state = CASE WHEN failures + 1 >= max_failures THEN 'quarantined' ELSE 'queued' END,
    finished_at = CASE WHEN failures + 1 >= max_failures THEN now() END,
    run_after = now() + make_interval(secs => least(60, :backoff * power(2, failures)))
WHERE id = :job AND attempt = :attempt AND state = 'running'
RETURNING state, parent
"""


def fail(connection: Connection, held: Claim, error: Mapping[str, Any], backoff: float = 2.0) -> JobState:
    """Count a failure: back to the queue with growing delays (seconds), or into quarantine after the last permitted one."""
    values = {"job": held.job, "attempt": held.attempt, "error": json.dumps(error), "backoff": backoff}
    row = connection.execute(text(_FAIL), values).one_or_none()
    if row is None:
        raise LeaseLost
    state = JobState(row.state)
    _record(connection, held.job, held.attempt, "failure" if state is JobState.QUEUED else state.value, str(error.get("message")))
    if state is JobState.QUARANTINED and row.parent is not None:
        child_ended(connection, row.parent, failed=True)
    return state


def release(connection: Connection, held: Claim) -> None:
    """Give a job back without counting a failure: the worker is leaving."""
    row = connection.execute(
        text(
            "UPDATE job SET state = 'queued', lease_until = NULL, published_at = NULL, orders = NULL, preemptions = preemptions + 1 "
            "WHERE id = :job AND attempt = :attempt AND state = 'running' RETURNING 1"
        ),
        {"job": held.job, "attempt": held.attempt},
    ).one_or_none()
    if row is None:
        raise LeaseLost
    _record(connection, held.job, held.attempt, "released", "the worker is leaving")


_CHILD_ENDED = """
UPDATE job SET remaining = remaining - 1,
    progress = progress || jsonb_build_object('failed_shards', coalesce((progress->>'failed_shards')::int, 0) + :failed)
WHERE id = :parent
RETURNING remaining, (progress->>'failed_shards')::int AS failed, attempt
"""
_CLOSE_PARENT = """
UPDATE job SET state = :state, finished_at = now(), orders = NULL, error = cast(:error AS jsonb)
WHERE id = :parent AND state = 'running'
RETURNING 1
"""


def child_ended(connection: Connection, parent: uuid.UUID, *, failed: bool) -> None:
    """Count down a parent's shards; the one that brings it to zero closes the parent in the same transaction."""
    row = connection.execute(text(_CHILD_ENDED), {"parent": parent, "failed": int(failed)}).one()
    if row.remaining > 0:
        return
    state, error = JobState.DONE, None
    if row.failed:
        state = JobState.FAILED
        error = json.dumps({"class": "ShardsFailed", "message": f"{row.failed} shards did not finish: `tweetmill retry {parent}` runs them again"})
    if connection.execute(text(_CLOSE_PARENT), {"parent": parent, "state": state.value, "error": error}).one_or_none():
        _record(connection, parent, row.attempt, state.value)


_CANCEL = """
UPDATE job SET
    state = CASE WHEN state = 'queued' OR remaining IS NOT NULL THEN 'cancelled' ELSE state END,
    finished_at = CASE WHEN state = 'queued' OR remaining IS NOT NULL THEN now() END,
    orders = CASE WHEN state = 'running' AND remaining IS NULL THEN 'cancel' END
WHERE (id = :job OR parent = :job) AND state IN ('queued', 'running')
RETURNING id, state, attempt
"""


def cancel(connection: Connection, job: uuid.UUID) -> int:
    """Cancel a job and its shards: what waits is cancelled now, what runs is told at its next renewal. Returns how many.

    Raises:
        UserError: when it has ended already.
    """
    rows = connection.execute(text(_CANCEL), {"job": job}).all()
    if not rows:
        raise UserError(f"job {job} has ended already: nothing to cancel")
    for row in rows:
        _record(connection, row.id, row.attempt, "cancelled" if row.state == JobState.CANCELLED else "cancel asked")
    parent = connection.execute(text("SELECT parent FROM job WHERE id = :job"), {"job": job}).scalar()
    if parent and any(row.id == job and row.state == JobState.CANCELLED for row in rows):
        child_ended(connection, parent, failed=True)
    return len(rows)


_RETRY = """
WITH again AS (
  UPDATE job SET state = 'queued', failures = 0, run_after = now(), published_at = NULL, finished_at = NULL, error = NULL, orders = NULL
  WHERE remaining IS NULL AND state = ANY(:states) AND (cast(:job AS uuid) IS NULL OR id = :job OR parent = :job)
  RETURNING id, parent, attempt)
SELECT id, parent, attempt FROM again
"""
_REOPEN = """
UPDATE job SET remaining = remaining + 1, state = 'running', finished_at = NULL, error = NULL,
    progress = progress || jsonb_build_object('failed_shards', greatest(0, coalesce((progress->>'failed_shards')::int, 0) - 1))
WHERE id = :parent
"""


def retry(connection: Connection, states: Sequence[JobState], job: uuid.UUID | None = None) -> list[uuid.UUID]:
    """Queue ended jobs of these states again with a clean count of failures: one job and its shards, or all."""
    values = {"job": job, "states": [state.value for state in states]}
    rows = connection.execute(text(_RETRY), values).all()
    for row in rows:
        if row.parent is not None:
            connection.execute(text(_REOPEN), {"parent": row.parent})
        _record(connection, row.id, row.attempt, "retried")
    return [row.id for row in rows]


def resolve(connection: Connection, reference: str) -> uuid.UUID:
    """A job's id from its id, an unambiguous beginning of it, or `latest`.

    Raises:
        NotFound: when none or more than one fits.
    """
    if reference == "latest":
        rows = connection.execute(text("SELECT id FROM job WHERE parent IS NULL ORDER BY created_at DESC LIMIT 1")).scalars().all()
    else:
        rows = connection.execute(text("SELECT id FROM job WHERE starts_with(id::text, :start) LIMIT 2"), {"start": reference.lower()}).scalars().all()
    if len(rows) != 1:
        raise NotFound(f"job {reference}: {'more than one begins so' if rows else 'there is none'}. `tweetmill jobs` lists them")
    return uuid.UUID(str(rows[0]))


def log(connection: Connection, held: Claim, message: str) -> None:
    """Append a line to the job's log. Never a tweet."""
    _record(connection, held.job, held.attempt, "log", message)


def _record(connection: Connection, job: uuid.UUID, attempt: int, event: str, detail: str | None = None) -> None:
    connection.execute(
        text("INSERT INTO job_event (job, attempt, event, detail) VALUES (:job, :attempt, :event, :detail)"),
        {"job": job, "attempt": attempt, "event": event, "detail": detail},
    )


def _record_many(connection: Connection, jobs: Sequence[uuid.UUID], event: str) -> None:
    if jobs:
        connection.execute(
            text("INSERT INTO job_event (job, attempt, event) SELECT unnest(cast(:jobs AS uuid[])), 0, :event"),
            {"jobs": list(jobs), "event": event},
        )
