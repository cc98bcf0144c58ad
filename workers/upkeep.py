"""Upkeep: what keeps jobs moving when messages or workers are lost.

A thread in every worker, without a leader: rows are taken with `FOR UPDATE SKIP LOCKED`, so two at once share the work.

* the *reaper* returns jobs whose lease expired to the queue, or quarantines them after the last permitted failure;
* the *relay* publishes queued rows while Redis holds fewer than twice as many messages as the queue has workers;
* the *finder* notices that Redis holds fewer messages than were published, and lets the relay publish the missing ones again.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, text

from schemas.states import JobState
from workers.events import record
from workers.family import shards_ended
from workers.store import transaction

logger = logging.getLogger(__name__)

Publish = Callable[[str, str, uuid.UUID], None]  # (task name, queue, job id)
Pending = Callable[[str], int]  # messages that Redis holds for a queue, unacknowledged ones included

# A worker that was told to drain and then killed left too late; its job did nothing wrong.
_REAP = """
WITH expired AS (
  SELECT id, orders, failures + (orders IS DISTINCT FROM 'drain')::int AS failures FROM job
  WHERE state = 'running' AND lease_until < now() ORDER BY lease_until LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
UPDATE job SET failures = expired.failures, preemptions = preemptions + (expired.orders IS NOT DISTINCT FROM 'drain')::int,
    state = CASE WHEN expired.orders = 'cancel' THEN 'cancelled' WHEN expired.failures >= max_failures THEN 'quarantined' ELSE 'queued' END,
    finished_at = CASE WHEN expired.orders = 'cancel' OR expired.failures >= max_failures THEN now() END,
    lease_until = NULL, published_at = NULL, run_after = now(), orders = NULL,
    error = jsonb_build_object('class', 'LeaseExpired', 'message', 'worker ' || owner || ' stopped renewing its lease', 'worker', owner)
FROM expired WHERE job.id = expired.id
RETURNING job.id, job.attempt, job.state, job.parent, job.owner
"""


def reap(connection: Connection, limit: int = 100) -> list[uuid.UUID]:
    """Take jobs from workers that stopped renewing; return those jobs' ids."""
    rows = connection.execute(text(_REAP), {"limit": limit}).all()
    for row in rows:
        record(connection, row.id, row.attempt, "lease expired", f"{row.owner}: now {row.state}")
    ended = Counter(row.parent for row in rows if row.parent is not None and row.state != JobState.QUEUED)
    for parent in sorted(ended):
        shards_ended(connection, parent, ended=ended[parent], failed=ended[parent])
    return [row.id for row in rows]


_TAKE = """
WITH next AS (
  SELECT id FROM job WHERE state = 'queued' AND queue = :queue AND published_at IS NULL AND run_after <= now()
  ORDER BY created_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
UPDATE job SET published_at = now() FROM next WHERE job.id = next.id
RETURNING job.id, job.kind, job.created_at
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
    for row in sorted(rows, key=lambda row: row.created_at):
        publish(row.kind, queue, row.id)
    return len(rows)


_PUBLISHED = "SELECT count(*) FROM job WHERE state = 'queued' AND queue = :queue AND published_at IS NOT NULL"
_UNPUBLISH = """
UPDATE job SET published_at = NULL WHERE id IN (
  SELECT id FROM job WHERE state = 'queued' AND queue = :queue AND published_at IS NOT NULL
  ORDER BY published_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
"""


@dataclass
class Shortfall:
    """How many messages Redis has been missing, and for how long.

    A message on its way from Redis to a claim is missing for a moment, so only what is missing at every look for `patience` seconds
    is lost. Judged by count, so that a backlog of hours is never flooded with copies.
    """

    patience: float
    missing: int = 0
    since: float | None = None

    def lost(self, missing: int, now: float) -> int:
        """What to publish again, after a look that found `missing` messages absent at time `now` (seconds)."""
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
    """Let the relay publish again what Redis lost: the oldest, since those would have been delivered first. Returns how many."""
    published = connection.execute(text(_PUBLISHED), {"queue": queue}).scalar_one()
    lost = shortfall.lost(published - pending(queue) if published else 0, time.monotonic())
    if not lost:
        return 0
    return connection.execute(text(_UNPUBLISH), {"queue": queue, "limit": lost}).rowcount


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
    connection.execute(text("DELETE FROM worker WHERE seen_at < now() - interval '1 day'"))


_DRAIN = "UPDATE job SET orders = 'drain' WHERE owner = :name AND state = 'running' AND orders IS NULL"


def depart(connection: Connection, name: str) -> None:
    """Say that this worker leaves, and ask its running jobs to be given back."""
    connection.execute(text("DELETE FROM worker WHERE name = :name"), {"name": name})
    connection.execute(text(_DRAIN), {"name": name})


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
        self._shortfalls = {queue: Shortfall(self.republish_after) for queue in self.queues}

    def start(self) -> None:
        """Begin; the first round comes at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the round under way, leave the list of workers, and ask this worker's jobs to be given back."""
        self._stop.set()
        self._thread.join(timeout=5)

    def round(self) -> None:
        """One round: say that we live, reap, then publish for the queues that this worker serves."""
        with transaction(self.engine) as connection:
            register(connection, self.name, self.queues, self.pid)
            reaped = reap(connection)
        if reaped:
            logger.info("returned %d jobs whose lease had expired", len(reaped))
        for queue in self.queues:
            with transaction(self.engine) as connection:
                lost = find_lost(connection, queue, self.pending, self._shortfalls[queue])
                relay(connection, queue, self.pending, self.publish)
            if lost:
                logger.warning("Redis lost %d messages of queue %s: publishing them again", lost, queue)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try(self.round)
            self._stop.wait(self.interval)
        # A server may be away at this very moment, but a leaving worker that says nothing keeps its jobs to the end.
        while not self._try(self._depart):
            time.sleep(self.interval)

    def _depart(self) -> None:
        with transaction(self.engine) as connection:
            depart(connection, self.name)

    def _try(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except Exception as error:  # a server is away: the next round tries again
            logger.warning("upkeep: %s: %s", type(error).__name__, str(error).partition("\n")[0])
            return False
        return True
