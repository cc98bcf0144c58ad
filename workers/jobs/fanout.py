"""Counts the shards of a parent job, closes the parent with the last of them, and cancels and retries both.

Every transaction locks shards before their parent, and several of either in the order of their ids, so that no two wait for each
other. A shard's end and the parent's count are one transaction, so whoever holds the parent's row finds count and shards in agreement.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from schemas.states import PARENT_MOVES, RETRIABLE, JobState, sources_of
from workers.errors import UserError
from workers.jobs.events import record, record_many

# Raw: counts that must agree with locks, in one statement each.
_OPEN = """
UPDATE job SET remaining = :shards,
    progress = jsonb_build_object('total', cast(:rows AS int), 'shards', cast(:shards AS int)),
    state = CASE WHEN :shards = 0 THEN 'done' ELSE state END, finished_at = CASE WHEN :shards = 0 THEN now() END
WHERE id = :parent
"""
# A parent to which shards are still added counts itself, so that the end of its last one so far does not close it.
_KEEP_OPEN = """
UPDATE job SET remaining = 1, progress = jsonb_build_object('total', 0, 'shards', 0, 'open', true) WHERE id = :parent
"""
_OPEN_PARENT = """
SELECT (progress->>'total')::bigint AS total FROM job
WHERE id = :parent AND state = 'running' AND progress ? 'open'
"""
_LOCK_OPEN = f"{_OPEN_PARENT} FOR NO KEY UPDATE"
_ADD_SHARD = """
UPDATE job SET remaining = remaining + 1, progress = progress || jsonb_build_object(
    'total', (progress->>'total')::bigint + :rows, 'shards', (progress->>'shards')::int + 1)
WHERE id = :parent
"""
_ADD_NO_MORE = "UPDATE job SET progress = progress - 'open' WHERE id = :parent AND state = 'running' AND progress ? 'open' RETURNING 1"
_SHARDS_ENDED = """
UPDATE job SET remaining = remaining - :ended,
    progress = progress || jsonb_build_object('failed_shards', coalesce((progress->>'failed_shards')::int, 0) + :failed)
WHERE id = :parent AND remaining IS NOT NULL
RETURNING remaining, (progress->>'failed_shards')::int AS failed, attempt
"""
_CLOSE = """
UPDATE job SET state = :state, finished_at = now(), error = cast(:error AS jsonb)
WHERE id = :parent AND state = ANY(:sources)
RETURNING 1
"""
# The first shard that failed: mostly all failed for the same reason.
_WHY = """
SELECT error->>'message' FROM job WHERE parent = :parent AND state <> 'done' AND error IS NOT NULL ORDER BY finished_at, id LIMIT 1
"""
# Two statements: one with an optional job would read the whole table for either.
_LOCK = """
SELECT id, parent FROM job WHERE remaining IS NULL AND state = ANY(:states) AND (id = :job OR parent = :job)
ORDER BY id FOR NO KEY UPDATE
"""
_LOCK_ALL = "SELECT id, parent FROM job WHERE remaining IS NULL AND state = ANY(:states) ORDER BY id FOR NO KEY UPDATE"
_LOCK_PARENT = "SELECT state FROM job WHERE id = :parent AND remaining IS NOT NULL AND state = ANY(:states) FOR NO KEY UPDATE"
# Under the parent's lock, in a statement of its own: its snapshot must be younger than the lock.
_RECOUNT = """
UPDATE job SET
    remaining = shards.remaining + CASE WHEN progress ? 'open' AND :state = 'running' THEN 1 ELSE 0 END,
    progress = CASE WHEN :state = 'running' THEN progress ELSE progress - 'open' END || jsonb_build_object('failed_shards', shards.failed),
    state = cast(:state AS text), finished_at = CASE WHEN :state = 'running' THEN NULL ELSE now() END,
    error = CASE WHEN :state = 'running' THEN NULL ELSE error END
FROM (SELECT count(*) FILTER (WHERE state IN ('queued', 'running')) AS remaining,
             count(*) FILTER (WHERE state NOT IN ('queued', 'running', 'done')) AS failed
      FROM job WHERE parent = :parent) AS shards
WHERE job.id = :parent
"""
# A member of a gang stands and falls with its leader, which is no parent that counts.
_GANG = """
SELECT leader.id FROM job AS member JOIN job AS leader ON leader.id = member.parent WHERE member.id = :job AND leader.remaining IS NULL
"""
_CANCEL = """
UPDATE job SET
    state = CASE WHEN state = 'queued' THEN 'cancelled' ELSE state END,
    finished_at = CASE WHEN state = 'queued' THEN now() END,
    orders = CASE WHEN state = 'running' THEN 'cancel' END
WHERE id = ANY(:jobs)
RETURNING id, state, parent
"""
_RETRY = """
UPDATE job SET state = 'queued', failures = 0, run_after = now(), published_at = NULL, finished_at = NULL, error = NULL, orders = NULL
WHERE id = ANY(:jobs)
"""


def open_parent(connection: Connection, parent: uuid.UUID, *, shards: int, rows: int) -> None:
    """Set a parent's count of shards and of rows; without any shard it is done."""
    connection.execute(text(_OPEN), {"parent": parent, "shards": shards, "rows": rows})


def keep_open(connection: Connection, parent: uuid.UUID) -> None:
    """Let shards be added to a parent for as long as it takes: it closes with the last one after `add_no_more`."""
    connection.execute(text(_KEEP_OPEN), {"parent": parent})


@dataclass(frozen=True)
class OpenParent:
    """A parent to which shards are added: how many rows those so far have."""

    rows: int


def find_open(connection: Connection, parent: uuid.UUID, *, lock: bool = False) -> OpenParent | None:
    """Return, and lock, a parent that is kept open; None if it is not any more, since it was let close or somebody cancelled it."""
    found = connection.execute(text(_LOCK_OPEN if lock else _OPEN_PARENT), {"parent": parent}).one_or_none()
    return None if found is None else OpenParent(found.total)


def add_shard(connection: Connection, parent: uuid.UUID, rows: int) -> None:
    """Count a shard of so many rows to a parent that `find_open` has locked; the caller inserts its job in the same transaction."""
    connection.execute(text(_ADD_SHARD), {"parent": parent, "rows": rows})


def add_no_more(connection: Connection, parent: uuid.UUID) -> None:
    """Let a parent close with its last shard, or now if all have ended. One that is closed or cancelled is left as it is."""
    if connection.execute(text(_ADD_NO_MORE), {"parent": parent}).one_or_none():
        shards_ended(connection, parent, failed=0)


def shards_ended(connection: Connection, parent: uuid.UUID, *, ended: int = 1, failed: int) -> None:
    """Count down a parent's shards; the one that brings it to zero closes the parent in the same transaction.

    Args:
        connection: in the transaction that ended the shards.
        parent: their parent.
        ended: how many ended.
        failed: how many of these did not end as done.
    """
    row = connection.execute(text(_SHARDS_ENDED), {"parent": parent, "ended": ended, "failed": failed}).one_or_none()
    if row is None or row.remaining > 0:  # the leader of a gang counts no members
        return
    state, error = JobState.DONE, None
    if row.failed:
        state = JobState.FAILED
        why = connection.execute(text(_WHY), {"parent": parent}).scalar()
        reason = f": {why.rstrip('.')}" if why else ""
        message = f"{row.failed} shards did not finish{reason}. `tweetmill retry {parent}` runs them again"
        error = json.dumps({"class": "ShardsFailed", "message": message})
    values = {"parent": parent, "state": state.value, "error": error, "sources": list(sources_of(state, PARENT_MOVES))}
    if connection.execute(text(_CLOSE), values).one_or_none():
        record(connection, parent, row.attempt, state.value)


def cancel(connection: Connection, job: uuid.UUID) -> int:
    """Cancel a job and its shards, or a whole gang: what is queued is cancelled now, what runs is signalled at its next renewal.

    Returns:
        How many jobs were cancelled or signalled.

    Raises:
        UserError: when it has ended already.
    """
    job = _gang(connection, job)
    locked = _lock(connection, sources_of(JobState.CANCELLED), job)
    rows = connection.execute(text(_CANCEL), {"jobs": [row.id for row in locked]}).all()
    cancelled = [row.id for row in rows if row.state == JobState.CANCELLED]
    record_many(connection, cancelled, "cancelled")
    record_many(connection, [row.id for row in rows if row.state != JobState.CANCELLED], "cancel asked")
    count = len(rows)
    if _lock_parent(connection, job, sources_of(JobState.CANCELLED, PARENT_MOVES)):
        connection.execute(text(_RECOUNT), {"parent": job, "state": JobState.CANCELLED.value})
        record_many(connection, [job], "cancelled")
        count += 1
    elif cancelled and rows[0].parent is not None:
        shards_ended(connection, rows[0].parent, ended=len(cancelled), failed=len(cancelled))
    if not count:
        raise UserError(f"job {job} has ended already: nothing to cancel")
    return count


def retry(connection: Connection, states: Sequence[JobState], job: uuid.UUID | None = None) -> list[uuid.UUID]:
    """Queue ended jobs of these states again and reset their failures: one job, or a parent's shards, or all. Return their ids."""
    job = None if job is None else _gang(connection, job)
    rows = _lock(connection, [state.value for state in states if state in RETRIABLE], job)
    jobs = [row.id for row in rows]
    connection.execute(text(_RETRY), {"jobs": jobs})
    record_many(connection, jobs, "retried")
    for parent in _in_order(row.parent for row in rows):
        _reopen(connection, parent)
    return jobs


def _reopen(connection: Connection, parent: uuid.UUID) -> None:
    state = _lock_parent(connection, parent, (JobState.RUNNING, *sources_of(JobState.RUNNING, PARENT_MOVES)))
    if state is None:  # the leader of a gang
        return
    connection.execute(text(_RECOUNT), {"parent": parent, "state": JobState.RUNNING.value})
    if state != JobState.RUNNING:
        record(connection, parent, 0, "reopened")


def _gang(connection: Connection, job: uuid.UUID) -> uuid.UUID:
    """Return the leader of a gang's member, and any other job as it is."""
    return connection.execute(text(_GANG), {"job": job}).scalar() or job


def _lock(connection: Connection, states: Sequence[str], job: uuid.UUID | None) -> Sequence[Row[Any]]:
    """Lock the jobs in these states, one job with its shards or all; return their ids and parents."""
    if job is None:
        return connection.execute(text(_LOCK_ALL), {"states": list(states)}).all()
    return connection.execute(text(_LOCK), {"job": job, "states": list(states)}).all()


def _lock_parent(connection: Connection, parent: uuid.UUID, states: Sequence[str]) -> str | None:
    """Lock a parent and return its state; None if the job is no parent, or in none of these states."""
    return connection.execute(text(_LOCK_PARENT), {"parent": parent, "states": list(states)}).scalar()


def _in_order(parents: Iterable[uuid.UUID | None]) -> list[uuid.UUID]:
    return sorted({parent for parent in parents if parent is not None})
