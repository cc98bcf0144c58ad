"""Upkeep: what keeps jobs moving when messages or workers are lost.

A thread in every worker, without a leader: rows are taken with `FOR UPDATE SKIP LOCKED`, so two at once share the work.

* the *reaper* returns jobs whose lease expired to the queue, or quarantines them after the last permitted failure;
* the *relay* publishes queued rows while Redis holds fewer than twice as many messages as the queue has workers;
* the *finder* notices that Redis holds fewer messages than were published, and lets the relay publish the missing ones again.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from workers.ledger import child_ended
from workers.store import transaction

logger = logging.getLogger(__name__)

Publish = Callable[[str, str, uuid.UUID], None]  # (task name, queue, job id)
Pending = Callable[[str], int]  # messages that Redis holds for a queue, unacknowledged ones included

_REAP = """
WITH expired AS (
  SELECT id FROM job WHERE state = 'running' AND lease_until < now() ORDER BY lease_until LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE job SET failures = failures + 1, lease_until = NULL, published_at = NULL, run_after = now(),
    state = CASE WHEN orders = 'cancel' THEN 'cancelled' WHEN failures + 1 >= max_failures THEN 'quarantined' ELSE 'queued' END,
    finished_at = CASE WHEN orders = 'cancel' OR failures + 1 >= max_failures THEN now() END, orders = NULL,
    error = jsonb_build_object('class', 'LeaseExpired', 'message', 'worker ' || owner || ' stopped renewing its lease', 'host', owner)
FROM expired WHERE job.id = expired.id
RETURNING job.id, job.attempt, job.state, job.parent, job.owner
"""


def reap(connection: Connection, limit: int = 100) -> list[uuid.UUID]:
    """Take jobs from workers that stopped renewing; return those jobs' ids."""
    rows = connection.execute(text(_REAP), {"limit": limit}).all()
    for row in rows:
        connection.execute(
            text("INSERT INTO job_event (job, attempt, event, detail) VALUES (:job, :attempt, :event, :detail)"),
            {"job": row.id, "attempt": row.attempt, "event": "lease expired", "detail": f"{row.owner}: now {row.state}"},
        )
        if row.parent is not None and row.state != "queued":
            child_ended(connection, row.parent, failed=True)
    return [row.id for row in rows]


_TAKE = """
WITH next AS (
  SELECT id FROM job WHERE state = 'queued' AND queue = :queue AND published_at IS NULL AND run_after <= now()
  ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE job SET published_at = now() FROM next WHERE job.id = next.id
RETURNING job.id, job.kind
"""


def relay(connection: Connection, queue: str, pending: Pending, publish: Publish) -> int:
    """Publish queued rows of one queue up to twice its live workers; return how many.

    The rows are marked and published in one transaction: when Redis is away, the error rolls the mark back.
    """
    workers = connection.execute(
        text("SELECT count(*) FROM worker WHERE :queue = ANY(string_to_array(queues, ',')) AND seen_at > now() - interval '1 minute'"),
        {"queue": queue},
    ).scalar_one()
    room = 2 * workers - pending(queue)
    if room <= 0:
        return 0
    rows = connection.execute(text(_TAKE), {"queue": queue, "limit": room}).all()
    for row in rows:
        publish(row.kind, queue, row.id)
    return len(rows)


_PUBLISHED = """
SELECT count(*) FROM job
WHERE state = 'queued' AND queue = :queue AND published_at < now() - make_interval(secs => :age)
"""
_UNPUBLISH = """
UPDATE job SET published_at = NULL WHERE id IN (
  SELECT id FROM job WHERE state = 'queued' AND queue = :queue AND published_at < now() - make_interval(secs => :age)
  ORDER BY published_at LIMIT :limit FOR UPDATE SKIP LOCKED)
"""


def find_lost(connection: Connection, queue: str, pending: Pending, age: float) -> int:
    """Let the relay publish again what Redis lost: by count, so that a backlog of hours is never flooded with copies.

    Args:
        age: seconds that a published row must have waited before it counts.

    Returns:
        How many rows were put back.
    """
    published = connection.execute(text(_PUBLISHED), {"queue": queue, "age": age}).scalar_one()
    lost = published - pending(queue) if published else 0
    if lost <= 0:
        return 0
    return connection.execute(text(_UNPUBLISH), {"queue": queue, "age": age, "limit": lost}).rowcount


def register(connection: Connection, name: str, queues: Iterable[str], pid: int) -> None:
    """Say that this worker lives."""
    connection.execute(
        text(
            "INSERT INTO worker (name, queues, pid) VALUES (:name, :queues, :pid) ON CONFLICT (name) DO UPDATE SET "
            "queues = excluded.queues, pid = excluded.pid, seen_at = now(), "
            "started_at = CASE WHEN worker.pid = excluded.pid THEN worker.started_at ELSE now() END"
        ),
        {"name": name, "queues": ",".join(sorted(queues)), "pid": pid},
    )


def depart(connection: Connection, name: str) -> None:
    """Say that this worker leaves, and ask its running jobs to be given back."""
    connection.execute(text("DELETE FROM worker WHERE name = :name"), {"name": name})
    connection.execute(
        text("UPDATE job SET orders = 'drain' WHERE owner = :name AND state = 'running' AND orders IS NULL"),
        {"name": name},
    )


@dataclass
class Upkeep:
    """The thread that does a round every `interval` seconds until told to stop."""

    engine: Engine
    name: str
    queues: tuple[str, ...]
    pid: int
    pending: Pending
    publish: Publish
    interval: float
    republish_after: float

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin; the first round comes at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round under way, then leave the list of workers."""
        self._stop.set()
        self._thread.join(timeout=5)
        with transaction(self.engine) as connection:
            depart(connection, self.name)

    def round(self) -> None:
        """One round: say that we live, reap, then publish for the queues that this worker serves."""
        with transaction(self.engine) as connection:
            register(connection, self.name, self.queues, self.pid)
            reaped = reap(connection)
        if reaped:
            logger.info("returned %d jobs whose lease had expired", len(reaped))
        for queue in self.queues:
            with transaction(self.engine) as connection:
                lost = find_lost(connection, queue, self.pending, self.republish_after)
                relay(connection, queue, self.pending, self.publish)
            if lost:
                logger.warning("Redis lost %d messages of queue %s: publishing them again", lost, queue)

    def _run(self) -> None:
        while True:
            try:
                self.round()
            except Exception as error:  # a server is away: the next round tries again
                logger.warning("upkeep: %s", type(error).__name__)
            if self._stop.wait(self.interval):
                return
