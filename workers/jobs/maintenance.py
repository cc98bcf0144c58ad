"""Maintenance: keeps jobs moving when messages or workers are lost.

Three threads in every worker, without a leader. One needs Postgres alone, so that Redis can't block it:

* it registers that the worker is alive, and reads whether it was asked to leave;
* the *reaper* returns jobs whose lease expired to the queue, or quarantines them after the last permitted failure.

Another keeps Redis supplied:

* the *relay* publishes queued rows while Redis holds fewer messages of a queue than it may;
* the *finder* notices that Redis holds fewer messages than were published, and lets the relay publish the missing ones again.

The third cleans folders of this machine, whose disks may be slow.
"""

from __future__ import annotations

import logging
import os
import queue as queues
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, Row, text

from schemas.states import JobState
from workers import clock
from workers.database import transaction
from workers.jobs import worker_registry
from workers.jobs.fanout import shards_ended

logger = logging.getLogger(__name__)


class Publish(Protocol):
    """Sends the message of a job: the task's name, the queue, the job's id."""

    def __call__(self, kind: str, queue: str, job: uuid.UUID, *, ahead: bool = False) -> None:
        """Put it behind all that wait in the queue, or ahead of them."""


Pending = Callable[[str], int]  # messages that Redis holds for a queue, unacknowledged ones included

SHARE = 64
"""Messages of a queue that Redis may hold however few workers there are: enough for short jobs not to wait for the relay."""

_BATCH = 32
_STUCK_AFTER = "10s"  # between two statements of a relay, in which Redis is asked
_CLEAN_SECONDS = 10.0
_PAUSE = 0.05  # seconds between two rounds of publishing, however many messages are taken

# Raw: each is one statement that finds its rows by SKIP LOCKED and changes them. No failure is counted if the worker was draining when it
# was killed, or the lease ended while Postgres itself was down and nobody could renew it. What an earlier failure logged is kept.
_REAP = """
WITH expired AS (
  SELECT id, orders, blameless, failures + (NOT blameless)::int AS failures FROM job, LATERAL (
    SELECT orders IS NOT DISTINCT FROM 'drain' OR lease_until < pg_postmaster_start_time() AS blameless
  ) AS verdict
  WHERE state = 'running' AND lease_until < now() ORDER BY lease_until LIMIT :limit FOR NO KEY UPDATE OF job SKIP LOCKED),
reaped AS (
  UPDATE job SET failures = expired.failures, preemptions = preemptions + expired.blameless::int,
    state = CASE WHEN expired.orders = 'cancel' THEN 'cancelled' WHEN expired.failures >= max_failures THEN 'quarantined' ELSE 'queued' END,
    finished_at = CASE WHEN expired.orders = 'cancel' OR expired.failures >= max_failures THEN now() END,
    lease_until = NULL, published_at = NULL, run_after = now(), orders = NULL,
    error = jsonb_strip_nulls(jsonb_build_object(
      'class', 'LeaseExpired', 'message', 'worker ' || owner || ' stopped renewing its lease', 'worker', owner,
      'host', nullif(split_part(owner, '@', 2), ''), 'log_tail', error->'log_tail'))
  FROM expired WHERE job.id = expired.id
  RETURNING job.id, job.attempt, job.state, job.parent, job.owner),
event AS (
  INSERT INTO job_event (job, attempt, event, detail) SELECT id, attempt, 'lease expired', owner || ': now ' || state FROM reaped)
SELECT * FROM reaped
"""
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
  SELECT id {_PUBLISHED_ONES} ORDER BY published_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED)
"""  # noqa: S608


def reap(connection: Connection, limit: int = 100) -> list[uuid.UUID]:
    """Queue again, quarantine or cancel the jobs whose lease has expired; return their ids."""
    rows = connection.execute(text(_REAP), {"limit": limit}).all()
    ended = Counter(row.parent for row in rows if row.parent is not None and row.state != JobState.QUEUED)
    for parent in sorted(ended):
        shards_ended(connection, parent, ended=ended[parent], failed=ended[parent])
    return [row.id for row in rows]


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


@dataclass
class Maintenance:
    """The threads, which do a round every `interval` seconds, or to `clean` every ten, until they are stopped."""

    engine: Engine
    name: str
    queues: tuple[str, ...]
    pid: int
    pending: Pending
    publish: Publish
    interval: float
    republish_after: float
    clean: Callable[[], None] = field(default=lambda: None)
    terminate: Callable[[], None] = field(default=lambda: os.kill(os.getpid(), signal.SIGTERM))

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._departing = threading.Event()
        self._left = threading.Event()
        self._taken: queues.SimpleQueue[str] = queues.SimpleQueue()
        self._shortfalls = {queue: Shortfall(self.republish_after) for queue in self.queues}

    def start(self) -> None:
        """Register this worker, then start the threads, whose first rounds begin at once.

        Celery says `ready` after it: whoever reads that may `drain` the worker, or find it in `status`.
        """
        self._try(self.watch)
        for name, run in (("maintenance", self._watch), ("relay", self._supply), ("housekeeping", self._keep_clean)):
            threading.Thread(target=run, name=name, daemon=True).start()

    def stop(self) -> None:
        """Stop the rounds, and signal `drain` to this worker's jobs repeatedly until `leave`."""
        self._stopping.set()
        self._departing.wait(timeout=5)

    def leave(self) -> None:
        """Record that the last job is released and the process ends."""
        self._left.set()
        self._try(self._sign_off)

    def taken(self, queue: str) -> None:
        """Note that a message of `queue` was taken: there is room for another. The name comes from the message, so it may be anything."""
        if queue in self.queues:
            self._taken.put(queue)

    def watch(self) -> None:
        """Do a round that needs Postgres alone: beat, read whether the worker must leave, and reap."""
        with transaction(self.engine) as connection:
            must_leave = worker_registry.beat(connection, self.name, self.queues, self.pid)
            reaped = reap(connection)
        if reaped:
            logger.info("returned %d jobs whose lease had expired", len(reaped))
        if must_leave and not self._stopping.is_set():
            logger.info("asked to leave")
            self.terminate()

    def supply(self) -> None:
        """Do a round that needs Redis too: find what it lost, then publish, for the queues that this worker serves."""
        for queue in self.queues:
            with transaction(self.engine) as connection:
                lost = find_lost(connection, queue, self.pending, self._shortfalls[queue])
            if lost:
                logger.warning("Redis lost %d messages of queue %s: publishing them again", lost, queue)
            self._supply_one(queue)

    def _supply_one(self, queue: str) -> None:
        publish_queued(queue, self.pending, self.publish, self.engine)

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._try(self.watch)
            self._stopping.wait(self.interval)
        # More than once: a server may be unreachable at this moment, and a job may be claimed a moment later.
        while not self._left.is_set():
            if self._try(self._depart):
                self._departing.set()
            self._left.wait(self.interval)

    def _supply(self) -> None:
        while not self._stopping.is_set():
            self._try(self.supply)
            self._follow_until(clock.now() + self.interval)

    def _keep_clean(self) -> None:
        while not self._stopping.is_set():
            self._try(self.clean)
            self._stopping.wait(_CLEAN_SECONDS)

    def _follow_until(self, end: float) -> None:
        """Publish more whenever messages were taken, until the next round."""
        while (left := end - clock.now()) > 0:
            try:
                taken = {self._taken.get(timeout=left)}
            except queues.Empty:
                return
            time.sleep(_PAUSE)
            while not self._taken.empty():
                taken.add(self._taken.get())
            for queue in sorted(taken):
                self._try(partial(self._supply_one, queue))

    def _depart(self) -> None:
        with transaction(self.engine) as connection:
            worker_registry.leave(connection, self.name, self.pid)

    def _sign_off(self) -> None:
        with transaction(self.engine) as connection:
            worker_registry.has_left(connection, self.name, self.pid)

    def _try(self, step: Callable[[], None]) -> bool:
        try:
            step()
        except Exception as error:  # a server is unreachable: the next round tries again
            logger.warning("maintenance: %s: %s", type(error).__name__, str(error).partition("\n")[0])
            return False
        return True
