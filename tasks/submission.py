"""Enqueueing, as every family does it: insert the row, commit, then publish the hint.

When Redis is down the row stands all the same, and upkeep publishes it later.
"""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import text

from schemas.payloads import Payload, Queue
from workers import ledger
from workers.app import pending, publish
from workers.store import transaction

logger = logging.getLogger(__name__)

# A producer never piles up messages: past this many, upkeep publishes as workers make room.
_PUBLISH_BELOW = 64
_MARK = """
UPDATE job SET published_at = now() WHERE id IN (
  SELECT id FROM job WHERE id = ANY(:jobs) AND state = 'queued' AND published_at IS NULL FOR NO KEY UPDATE SKIP LOCKED)
RETURNING id
"""


@dataclass(frozen=True)
class Submitted:
    """The job, and whether it is new: False when an equal one stood in the ledger already."""

    job: uuid.UUID
    new: bool


def fingerprint(kind: str, payload: Payload, *inputs: str) -> str:
    """The idempotency key of a deterministic job: the same work on the same inputs is one job."""
    body = json.dumps([kind, payload.model_dump(mode="json"), *inputs], sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()


def submit(kind: str, queue: Queue, payload: Payload, idempotency_key: str) -> Submitted:
    """Insert one job and publish it."""
    job = ledger.NewJob(kind=kind, queue=queue.value, payload=payload, idempotency_key=idempotency_key)
    with transaction() as connection:
        new = ledger.insert(connection, [job])
        found = new[0] if new else ledger.find_by_key(connection, idempotency_key)
    assert found is not None
    if new:
        publish_now(kind, queue, [found])
    return Submitted(job=found, new=bool(new))


def publish_now(kind: str, queue: Queue, jobs: Sequence[uuid.UUID]) -> int:
    """Publish committed rows at once, as many as Redis shall hold; upkeep does the rest.

    Marked and published in one transaction, as the relay does it: only one of the two publishes a row, and when Redis is away the
    error rolls the marks back.

    Returns:
        How many were published.
    """
    try:
        room = max(0, _PUBLISH_BELOW - pending(queue.value))
        with transaction() as connection:
            marked = set(connection.execute(text(_MARK), {"jobs": list(jobs[:room])}).scalars())
            for job in jobs[:room]:
                if job in marked:
                    publish(kind, queue.value, job)
    except (OperationalError, RedisError, OSError) as error:
        logger.warning("Redis does not answer (%s): the job waits in Postgres and is published when it is back", type(error).__name__)
        return 0
    return len(marked)
