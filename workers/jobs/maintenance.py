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

from sqlalchemy import Connection, Engine, text

from schemas.states import JobState
from workers import clock
from workers.database import transaction
from workers.jobs import worker_registry
from workers.jobs.fanout import shards_ended
from workers.jobs.relay import Pending, Publish, Shortfall, find_lost, publish_queued

logger = logging.getLogger(__name__)


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


def reap(connection: Connection, limit: int = 100) -> list[uuid.UUID]:
    """Queue again, quarantine or cancel the jobs whose lease has expired; return their ids."""
    rows = connection.execute(text(_REAP), {"limit": limit}).all()
    ended = Counter(row.parent for row in rows if row.parent is not None and row.state != JobState.QUEUED)
    for parent in sorted(ended):
        shards_ended(connection, parent, ended=ended[parent], failed=ended[parent])
    return [row.id for row in rows]


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
