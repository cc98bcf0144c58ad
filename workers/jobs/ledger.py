"""Inserts, claims, renews and ends jobs: each transition of a job's state is one fenced statement.

The row in Postgres is the source of truth; the Celery message carries the row's id and nothing else. A claim raises `attempt` before the
work begins, and every later write names that attempt in its `WHERE`, so the write of a worker that lost its lease changes nothing. All
times are Postgres's `now()`, so a worker's clock may be wrong. Each transition appends its event in the same statement.
`docs/ledger.md` draws the states; `workers/jobs/fanout.py` counts shards.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text
from sqlmodel import col, select

from schemas.payloads import Payload
from schemas.states import FINAL_STATES, JobState, sources_of
from schemas.tables.jobs import Job
from workers.errors import LeaseLost, NotFound
from workers.jobs.context import Signal
from workers.jobs.events import record, record_many
from workers.jobs.fanout import shards_ended
from workers.settings import get_settings

# Raw: a move of a job is one statement that checks the attempt, writes the row and appends the event.
_INSERT = """
INSERT INTO job (id, kind, queue, idempotency_key, payload, state, parent, remaining, max_failures, started_at)
SELECT row.id, row.kind, row.queue, row.key, row.payload, row.state, row.parent, row.remaining, :max_failures,
       CASE WHEN row.state = 'running' THEN now() END
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(id uuid, kind text, queue text, key text, payload jsonb, state text, parent uuid, remaining int)
ON CONFLICT (idempotency_key) DO NOTHING
RETURNING id
"""
_CLAIM = """
WITH claimed AS (
  UPDATE job SET state = 'running', attempt = attempt + 1, owner = :owner, lease_until = now() + make_interval(secs => :lease),
    orders = NULL, started_at = coalesce(started_at, now()), finished_at = NULL
  WHERE id = :job AND state = ANY(:sources) AND run_after <= now() AND remaining IS NULL
    AND (cast(:kind AS text) IS NULL OR kind = :kind)
  RETURNING id, kind, attempt, payload, parent),
event AS (INSERT INTO job_event (job, attempt, event, detail) SELECT id, attempt, 'claimed', :owner FROM claimed)
SELECT * FROM claimed
"""
# A worker that vanishes between two statements leaves its transaction open, and the reaper skips a row that is locked. So Postgres ends
# such a transaction when the worker was silent for a lease.
_SET_IDLE_TIMEOUT = "set_config('idle_in_transaction_session_timeout', :lease_ms, true)"

_RENEW = f"""
UPDATE job SET lease_until = now() + make_interval(secs => :lease), progress = coalesce(cast(:progress AS jsonb), progress)
WHERE id = :job AND attempt = :attempt AND state = 'running'
RETURNING orders, {_SET_IDLE_TIMEOUT}
"""  # noqa: S608
_FENCE = f"SELECT {_SET_IDLE_TIMEOUT} FROM job WHERE id = :job AND attempt = :attempt AND state = 'running' FOR NO KEY UPDATE"  # noqa: S608
_FINISH = """
WITH ended AS (
  UPDATE job SET state = :state, result = coalesce(cast(:result AS jsonb), result), error = cast(:error AS jsonb),
    lease_until = NULL, orders = NULL, finished_at = now(), progress = progress || coalesce(cast(:progress AS jsonb), '{}'::jsonb)
  WHERE id = :job AND attempt = :attempt AND state = 'running' AND state = ANY(:sources)
  RETURNING id, attempt, parent),
event AS (INSERT INTO job_event (job, attempt, event, detail) SELECT id, attempt, :state, :detail FROM ended)
SELECT parent FROM ended
"""
# A cancel that came too late for this attempt must not be lost, or the job would run again.
_SET_FAILED = """
UPDATE job SET failures = failures + 1, error = cast(:error AS jsonb), lease_until = NULL, published_at = NULL, orders = NULL,
  state = CASE WHEN orders = 'cancel' THEN 'cancelled' WHEN failures + 1 >= max_failures THEN 'quarantined' ELSE 'queued' END,
  finished_at = CASE WHEN orders = 'cancel' OR failures + 1 >= max_failures THEN now() END,
  run_after = now() + make_interval(secs => least(60, :backoff * power(2, least(failures, 10))))
"""
_SET_RELEASED = """
UPDATE job SET state = CASE WHEN orders = 'cancel' THEN 'cancelled' ELSE 'queued' END,
  finished_at = CASE WHEN orders = 'cancel' THEN now() END,
  lease_until = NULL, published_at = NULL, orders = NULL, preemptions = preemptions + 1,
  run_after = now() + make_interval(secs => least(60, :delay * power(:growth, least(preemptions, 10))))
"""
_RETURNED = """
WITH back AS (
  {update}
  WHERE id = :job AND attempt = :attempt AND state = 'running'
  RETURNING id, attempt, state, parent),
event AS (
  INSERT INTO job_event (job, attempt, event, detail)
  SELECT id, attempt, CASE WHEN state = 'queued' THEN :event ELSE state END, :detail FROM back)
SELECT state, parent FROM back
"""
_FAIL = _RETURNED.format(update=_SET_FAILED.strip())
_RELEASE = _RETURNED.format(update=_SET_RELEASED.strip())
_ENDED = """
SELECT EXISTS (SELECT 1 FROM job_event WHERE job = :job AND attempt = :attempt AND event = ANY(:ends))
"""
_END_EVENTS = ("failure", "released", *sorted(FINAL_STATES))


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
    """A job to insert. Jobs with equal idempotency keys are one job."""

    kind: str
    queue: str
    payload: Payload
    idempotency_key: str
    parent: uuid.UUID | None = None
    remaining: int | None = None
    state: JobState = JobState.QUEUED
    id: uuid.UUID = field(default_factory=uuid.uuid4)


def insert(connection: Connection, jobs: Sequence[NewJob]) -> list[uuid.UUID]:
    """Insert jobs in one statement; return the ids of those that are new."""
    rows = [_as_row(job) for job in jobs]
    values = {"rows": json.dumps(rows), "max_failures": get_settings().max_failures}
    new = [row.id for row in connection.execute(text(_INSERT), values)]
    record_many(connection, new, "enqueued")
    return new


def _as_row(job: NewJob) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "kind": job.kind,
        "queue": job.queue,
        "key": job.idempotency_key,
        "payload": job.payload.model_dump(mode="json"),
        "state": job.state.value,
        "parent": str(job.parent) if job.parent else None,
        "remaining": job.remaining,
    }


def find_by_key(connection: Connection, idempotency_key: str) -> uuid.UUID | None:
    """Return the id of the job with this idempotency key, if there is one."""
    return connection.execute(select(Job.id).where(Job.idempotency_key == idempotency_key)).scalar_one_or_none()


def claim(connection: Connection, job: uuid.UUID, owner: str, lease: float, kind: str | None = None) -> Claim | None:
    """Claim a queued job; return None if the delivery was a duplicate, or the job is cancelled, done or held elsewhere.

    A job whose lease has expired can't be claimed: `maintenance.reap` alone ends leases, so that each expiry is counted.
    A job of another kind than `kind` is left alone: whoever can write to Redis must not turn one task's job into another's.
    """
    values = {"job": job, "owner": owner, "lease": lease, "kind": kind, "sources": list(sources_of(JobState.RUNNING))}
    row = connection.execute(text(_CLAIM), values).one_or_none()
    if row is None:
        return None
    return Claim(job=job, kind=row.kind, attempt=row.attempt, payload=row.payload, parent=row.parent, lease=lease)


def renew(connection: Connection, held: Claim, progress: Mapping[str, Any] | None = None) -> Signal | None:
    """Prolong the lease and store `progress`; return the pending signal: None, `cancel` or `drain`.

    Raises:
        LeaseLost: another attempt holds the job, or it is no longer running.
    """
    values = _held(held) | {"lease": held.lease, "progress": json.dumps(progress) if progress else None}
    row = connection.execute(text(_RENEW), values).one_or_none()
    if row is None:
        raise LeaseLost
    signal: Signal | None = row.orders
    return signal


def fence(connection: Connection, held: Claim) -> None:
    """Lock the job's row for this transaction and check that this attempt still holds it.

    Raises:
        LeaseLost: it does not, and the transaction must write nothing.
    """
    if connection.execute(text(_FENCE), _held(held)).scalar() is None:
        raise LeaseLost


def _held(held: Claim) -> dict[str, Any]:
    return {"job": held.job, "attempt": held.attempt, "lease_ms": f"{held.lease * 1000:.0f}"}


def finish(
    connection: Connection,
    held: Claim,
    state: JobState,
    *,
    result: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
    progress: Mapping[str, Any] | None = None,
) -> None:
    """Move a held job to a final state, and update its parent's count. The results belong in the same transaction.

    Raises:
        LeaseLost: this attempt does not hold the job any more: roll back.
    """
    values = {"job": held.job, "attempt": held.attempt, "state": state.value, "sources": list(sources_of(state))}
    documents = {"result": result, "error": error, "progress": progress}
    values |= {name: None if value is None else json.dumps(value) for name, value in documents.items()}
    values["detail"] = str(error["message"]) if error else None
    row = connection.execute(text(_FINISH), values).one_or_none()
    if row is None:
        raise LeaseLost
    if row.parent is not None:
        shards_ended(connection, row.parent, failed=int(state is not JobState.DONE))


def fail(connection: Connection, held: Claim, error: Mapping[str, Any], backoff: float = 2.0) -> JobState:
    """Count a failure and queue the job again with exponential backoff (seconds), or quarantine it after the last permitted failure.

    Raises:
        LeaseLost: this attempt does not hold the job any more.
    """
    event = {"event": "failure", "detail": str(error.get("message"))}
    return _return(connection, held, _FAIL, {**event, "error": json.dumps(error), "backoff": backoff})


def release(
    connection: Connection, held: Claim, reason: str = "the worker is leaving", delay: float = 0.0, growth: float = 1.0
) -> JobState:
    """Queue a held job again, to be claimed after `delay` seconds, without counting a failure: it was not the job's fault.

    The delay is multiplied by `growth` for each time that the job was given back before, up to a minute.

    Raises:
        LeaseLost: this attempt does not hold the job any more.
    """
    return _return(connection, held, _RELEASE, {"event": "released", "detail": reason, "delay": delay, "growth": growth})


def _return(connection: Connection, held: Claim, statement: str, values: Mapping[str, Any]) -> JobState:
    row = connection.execute(text(statement), {**values, "job": held.job, "attempt": held.attempt}).one_or_none()
    if row is None:
        raise LeaseLost
    state = JobState(row.state)
    if state is not JobState.QUEUED and row.parent is not None:
        shards_ended(connection, row.parent, failed=1)
    return state


def has_ended(connection: Connection, held: Claim) -> bool:
    """Return whether this attempt's end is recorded: what a worker asks when the connection broke while it committed.

    It looks for the event and not at the state, since another attempt may have begun meanwhile.
    """
    values = {"job": held.job, "attempt": held.attempt, "ends": list(_END_EVENTS)}
    return bool(connection.execute(text(_ENDED), values).scalar_one())


def resolve(connection: Connection, reference: str) -> uuid.UUID:
    """Return the id of the job that `reference` names: an id, an unambiguous beginning of one, or `latest`.

    Raises:
        NotFound: when none or more than one fits.
    """
    rows: Sequence[uuid.UUID] = ()
    digits = reference.replace("-", "").lower()
    if reference == "latest":
        newest = select(Job.id).where(col(Job.parent).is_(None)).order_by(col(Job.created_at).desc()).limit(1)
        rows = connection.execute(newest).scalars().all()
    elif re.fullmatch("[0-9a-f]{1,32}", digits):
        first, last = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
        rows = connection.execute(select(Job.id).where(col(Job.id).between(first, last)).limit(2)).scalars().all()
    if len(rows) != 1:
        raise NotFound(f"job {reference}: {'more than one begins so' if rows else 'there is none'}. `tweetmill jobs` lists them")
    return rows[0]


def log(connection: Connection, held: Claim, message: str) -> None:
    """Append a line to the job's log. Never a tweet."""
    record(connection, held.job, held.attempt, "log", message)
