"""Supplies Redis: queued rows are published while it holds fewer messages of a queue than it may, and those again that it lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Row, text

from workers import clock
from workers.database import transaction
from workers.jobs import worker_registry


class Publish(Protocol):
    """Sends the message of a job: the task's name, the queue, the job's id."""

    def __call__(self, kind: str, queue: str, job: uuid.UUID, *, ahead: bool = False) -> None:
        """Put it behind all that wait in the queue, or ahead of them."""


Pending = Callable[[str], int]  # messages that Redis holds for a queue, unacknowledged ones included

SHARE = 64
"""Messages of a queue that Redis may hold however few workers there are: enough for short jobs not to wait for the relay."""

_BATCH = 32
_STUCK_AFTER = "10s"  # between two statements of a relay, in which Redis is asked

# Raw: each is one statement that finds its rows by SKIP LOCKED and changes them.
_WAITING = "FROM job WHERE state = 'queued' AND queue = :queue AND published_at IS NULL AND run_after <= now()"
_PUBLISHED_ONES = "FROM job WHERE state = 'queued' AND queue = :queue AND published_at IS NOT NULL"
# A job that was tried before has waited its turn: it was given back, its worker died, or somebody retries it.
_COMES_AGAIN = "AND attempt > 0"
# Those are put ahead of the queue when none of them is in it, or each would be put before the one that waits longer.
_WAITS = f"""
SELECT (SELECT true {_WAITING} ORDER BY created_at LIMIT 1) AS some,
       (SELECT true {_WAITING} {_COMES_AGAIN} ORDER BY created_at LIMIT 1)
       AND (SELECT true {_PUBLISHED_ONES} {_COMES_AGAIN} ORDER BY published_at LIMIT 1) IS NULL AS again
"""
# One relay at a time supplies a queue, or each would fill it. A relay that is stopped halfway must not block the others for long.
_SHARE = """
SELECT pg_advisory_xact_lock(hashtext('tweetmill.relay'), hashtext(:queue)),
  set_config('idle_in_transaction_session_timeout', :stuck, true),
  greatest(:least, 2 * (
    SELECT count(*) FROM worker WHERE :queue = ANY(string_to_array(queues, ',')) AND left_at IS NULL AND orders IS NULL
    AND seen_at > now() - make_interval(secs => :seen_within))) AS messages
"""
_TAKE = """
WITH next AS (SELECT id {waiting} ORDER BY created_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
UPDATE job SET published_at = now() FROM next WHERE job.id = next.id
RETURNING job.id, job.kind, job.created_at
"""
_TAKE_ANY = _TAKE.format(waiting=_WAITING)
_TAKE_AGAIN = _TAKE.format(waiting=f"{_WAITING} {_COMES_AGAIN}")
_PUBLISHED = f"SELECT count(*) {_PUBLISHED_ONES}"
_UNPUBLISH = f"""
UPDATE job SET published_at = NULL WHERE id IN (
  SELECT id {_PUBLISHED_ONES} ORDER BY published_at, created_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
"""  # noqa: S608


def relay(connection: Connection, queue: str, pending: Pending, publish: Publish) -> int:
    """Publish queued rows of a queue, the oldest first, at most 32, while Redis holds less than its share; return how many.

    Its share is 64 messages, or two for each live worker where that is more. Jobs that were tried before need no room there: they are put
    ahead of all that wait. The rows are marked and published in one transaction: when Redis is away, the error rolls the mark back.
    """
    waits = connection.execute(text(_WAITS), {"queue": queue}).one()
    if not waits.some:
        return 0
    # Asked before the lock too: while Redis is unreachable, each relay tries for a while, and must not wait for all the others.
    held = pending(queue)
    values = {"queue": queue, "least": SHARE, "seen_within": worker_registry.SEEN_WITHIN, "stuck": _STUCK_AFTER}
    share = connection.execute(text(_SHARE), values).one().messages
    # Under the lock again: another relay may have put some ahead.
    again = (
        _taken(connection, _TAKE_AGAIN, queue, _BATCH)
        if waits.again and connection.execute(text(_WAITS), {"queue": queue}).one().again
        else []
    )
    room = min(_BATCH - len(again), share - pending(queue) - len(again)) if held < share else 0
    others = _taken(connection, _TAKE_ANY, queue, room)
    for row in reversed(again):  # the last one that is put ahead is the first to be taken
        publish(row.kind, queue, row.id, ahead=True)
    for row in others:
        publish(row.kind, queue, row.id)
    return len(again) + len(others)


def _taken(connection: Connection, statement: str, queue: str, limit: int) -> list[Row[Any]]:
    """Mark rows as published, at most `limit`, and return them, the oldest first."""
    if limit <= 0:
        return []
    rows = connection.execute(text(statement), {"queue": queue, "limit": limit}).all()
    return sorted(rows, key=lambda row: row.created_at)


def publish_queued(queue: str, pending: Pending, publish: Publish, engine: Engine | None = None) -> int:
    """Publish queued rows of a queue until Redis holds its share or none waits, in short transactions; return how many."""
    published = 0
    while True:
        with transaction(engine) as connection:
            batch = relay(connection, queue, pending, publish)
        published += batch
        if batch < _BATCH:
            return published


@dataclass
class Shortfall:
    """Tracks how many messages Redis has been missing, and for how long.

    A message on its way from Redis to a claim is missing for a moment, so only what is missing at every look for `patience` seconds
    is lost. It goes by count and not by age, so that a long backlog is never flooded with duplicates.
    """

    patience: float
    missing: int = 0
    since: float | None = None

    def lost(self, missing: int, now: float) -> int:
        """Return how many messages to publish again, after a look at time `now` (seconds) that found `missing` of them absent."""
        if missing <= 0:
            self.since = None
            return 0
        self.missing = missing if self.since is None else min(self.missing, missing)
        self.since = now if self.since is None else self.since
        if now - self.since < self.patience:
            return 0
        self.since = None
        return self.missing


def find_lost(connection: Connection, queue: str, pending: Pending, shortfall: Shortfall) -> int:
    """Mark the jobs whose messages Redis lost for the relay, the oldest first, and return how many."""
    published = connection.execute(text(_PUBLISHED), {"queue": queue}).scalar_one()
    lost = shortfall.lost(published - pending(queue) if published else 0, clock.now())
    if not lost:
        return 0
    return connection.execute(text(_UNPUBLISH), {"queue": queue, "limit": lost}).rowcount
