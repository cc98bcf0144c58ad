"""The ledger: every move of a job, as one fenced statement each.

The row in Postgres is the truth; the Celery message is a hint that carries the row's id. A claim raises `attempt` before the work
begins, and every later write names that attempt in its `WHERE`: the write of a worker that lost its lease changes nothing. All
times are Postgres's `now()`, so a worker's clock may be wrong. Each move appends its event in the same statement.
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

from schemas.payloads import Payload
from schemas.states import FINAL_STATES, JobState, sources_of
from workers.errors import LeaseLost, NotFound
from workers.jobs.context import Signal
from workers.jobs.events import record, record_many
from workers.jobs.fanout import shards_ended
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
    """The job of this idempotency key, if there is one."""
    found = connection.execute(text("SELECT id FROM job WHERE idempotency_key = :key"), {"key": idempotency_key}).scalar()
    return uuid.UUID(str(found)) if found else None


_CLAIM = """
WITH claimed AS (
  UPDATE job SET state = 'running', attempt = attempt + 1, owner = :owner, lease_until = now() + make_interval(secs => :lease),
    orders = NULL, started_at = coalesce(started_at, now()), finished_at = NULL
  WHERE id = :job AND state = ANY(:sources) AND run_after <= now() AND remaining IS NULL
    AND (cast(:kind AS text) IS NULL OR kind = :kind)
  RETURNING id, kind, attempt, payload, parent),
told AS (INSERT INTO job_event (job, attempt, event, detail) SELECT id, attempt, 'claimed', :owner FROM claimed)
SELECT * FROM claimed
"""


def claim(connection: Connection, job: uuid.UUID, owner: str, lease: float, kind: str | None = None) -> Claim | None:
    """Take a queued job, or None when it is not to be had: the delivery was a copy, or it is cancelled, done or held elsewhere.

    An expired lease is no invitation: `upkeep.reap` alone ends leases, so that each expiry is counted.
    A job of another kind than `kind` is left alone: whoever can write to Redis must not turn one task's job into another's.
    """
    values = {"job": job, "owner": owner, "lease": lease, "kind": kind, "sources": list(sources_of(JobState.RUNNING))}
    row = connection.execute(text(_CLAIM), values).one_or_none()
    if row is None:
        return None
    return Claim(job=job, kind=row.kind, attempt=row.attempt, payload=row.payload, parent=row.parent, lease=lease)


# A worker that vanishes between two statements leaves its transaction open, and a row that it locked is passed over by the reaper:
# Postgres ends such a transaction when the worker was silent for a lease.
_LET_GO = "set_config('idle_in_transaction_session_timeout', :lease_ms, true)"

_RENEW = f"""
UPDATE job SET lease_until = now() + make_interval(secs => :lease), progress = coalesce(cast(:progress AS jsonb), progress)
WHERE id = :job AND attempt = :attempt AND state = 'running'
RETURNING orders, {_LET_GO}
"""  # noqa: S608


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


_FENCE = f"SELECT {_LET_GO} FROM job WHERE id = :job AND attempt = :attempt AND state = 'running' FOR NO KEY UPDATE"  # noqa: S608


def fence(connection: Connection, held: Claim) -> None:
    """Lock the job's row for this transaction and make sure that this attempt still holds it.

    Raises:
        LeaseLost: it does not, and the transaction must write nothing.
    """
    if connection.execute(text(_FENCE), _held(held)).scalar() is None:
        raise LeaseLost


def _held(held: Claim) -> dict[str, Any]:
    return {"job": held.job, "attempt": held.attempt, "lease_ms": f"{held.lease * 1000:.0f}"}


_FINISH = """
WITH ended AS (
  UPDATE job SET state = :state, result = coalesce(cast(:result AS jsonb), result), error = cast(:error AS jsonb),
    lease_until = NULL, orders = NULL, finished_at = now(), progress = progress || coalesce(cast(:progress AS jsonb), '{}'::jsonb)
  WHERE id = :job AND attempt = :attempt AND state = 'running' AND state = ANY(:sources)
  RETURNING id, attempt, parent),
told AS (INSERT INTO job_event (job, attempt, event, detail) SELECT id, attempt, :state, :detail FROM ended)
SELECT parent FROM ended
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
    told = {"result": result, "error": error, "progress": progress}
    values |= {name: None if value is None else json.dumps(value) for name, value in told.items()}
    values["detail"] = str(error["message"]) if error else None
    row = connection.execute(text(_FINISH), values).one_or_none()
    if row is None:
        raise LeaseLost
    if row.parent is not None:
        shards_ended(connection, row.parent, failed=int(state is not JobState.DONE))


# A cancel that came too late for this attempt must not be forgotten: the job would run again.
_FAIL = """
UPDATE job SET failures = failures + 1, error = cast(:error AS jsonb), lease_until = NULL, published_at = NULL, orders = NULL,
  state = CASE WHEN orders = 'cancel' THEN 'cancelled' WHEN failures + 1 >= max_failures THEN 'quarantined' ELSE 'queued' END,
  finished_at = CASE WHEN orders = 'cancel' OR failures + 1 >= max_failures THEN now() END,
  run_after = now() + make_interval(secs => least(60, :backoff * power(2, least(failures, 10))))
"""
_RELEASE = """
UPDATE job SET state = CASE WHEN orders = 'cancel' THEN 'cancelled' ELSE 'queued' END,
  finished_at = CASE WHEN orders = 'cancel' THEN now() END,
  lease_until = NULL, published_at = NULL, orders = NULL, preemptions = preemptions + 1, run_after = now() + make_interval(secs => :delay)
"""
_HAND_BACK = """
WITH back AS (
  {update}
  WHERE id = :job AND attempt = :attempt AND state = 'running'
  RETURNING id, attempt, state, parent),
told AS (
  INSERT INTO job_event (job, attempt, event, detail)
  SELECT id, attempt, CASE WHEN state = 'queued' THEN :event ELSE state END, :detail FROM back)
SELECT state, parent FROM back
"""


def fail(connection: Connection, held: Claim, error: Mapping[str, Any], backoff: float = 2.0) -> JobState:
    """Count a failure: back to the queue with growing delays (seconds), or into quarantine after the last permitted one.

    Raises:
        LeaseLost: this attempt does not hold the job any more.
    """
    told = {"event": "failure", "detail": str(error.get("message"))}
    return _hand_back(connection, held, _FAIL, {**told, "error": json.dumps(error), "backoff": backoff})


def release(connection: Connection, held: Claim, reason: str = "the worker is leaving", delay: float = 0.0) -> JobState:
    """Give a job back, to be claimed after `delay` seconds, without counting a failure: it was not the job's fault.

    Raises:
        LeaseLost: this attempt does not hold the job any more.
    """
    return _hand_back(connection, held, _RELEASE, {"event": "released", "detail": reason, "delay": delay})


def _hand_back(connection: Connection, held: Claim, update: str, values: Mapping[str, Any]) -> JobState:
    statement = text(_HAND_BACK.format(update=update.strip()))
    row = connection.execute(statement, {**values, "job": held.job, "attempt": held.attempt}).one_or_none()
    if row is None:
        raise LeaseLost
    state = JobState(row.state)
    if state is not JobState.QUEUED and row.parent is not None:
        shards_ended(connection, row.parent, failed=1)
    return state


_ENDED = """
SELECT EXISTS (SELECT 1 FROM job_event WHERE job = :job AND attempt = :attempt AND event = ANY(:ends))
"""
_ENDS = ("failure", "released", *sorted(FINAL_STATES))


def has_ended(connection: Connection, held: Claim) -> bool:
    """Whether this attempt's end stands in the ledger: what a worker asks when the connection broke while it committed.

    The event is asked and not the state: another attempt may have begun since.
    """
    values = {"job": held.job, "attempt": held.attempt, "ends": list(_ENDS)}
    return bool(connection.execute(text(_ENDED), values).scalar_one())


def resolve(connection: Connection, reference: str) -> uuid.UUID:
    """A job's id from its id, an unambiguous beginning of it, or `latest`.

    Raises:
        NotFound: when none or more than one fits.
    """
    rows: Sequence[Any] = ()
    digits = reference.replace("-", "").lower()
    if reference == "latest":
        rows = connection.execute(text("SELECT id FROM job WHERE parent IS NULL ORDER BY created_at DESC LIMIT 1")).scalars().all()
    elif re.fullmatch("[0-9a-f]{1,32}", digits):
        span = {"first": uuid.UUID(digits.ljust(32, "0")), "last": uuid.UUID(digits.ljust(32, "f"))}
        rows = connection.execute(text("SELECT id FROM job WHERE id BETWEEN :first AND :last LIMIT 2"), span).scalars().all()
    if len(rows) != 1:
        raise NotFound(f"job {reference}: {'more than one begins so' if rows else 'there is none'}. `tweetmill jobs` lists them")
    return uuid.UUID(str(rows[0]))


def log(connection: Connection, held: Claim, message: str) -> None:
    """Append a line to the job's log. Never a tweet."""
    record(connection, held.job, held.attempt, "log", message)
