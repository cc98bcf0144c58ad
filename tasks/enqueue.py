"""Enqueues jobs of every kind: inserts the row, commits, then publishes the message.

When Redis is down the row is inserted all the same, and maintenance publishes it later.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from schemas.payloads import Payload, Queue
from workers.app import pending, publish
from workers.database import transaction
from workers.errors import Unavailable
from workers.files import sha256
from workers.jobs import ledger, relay

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submitted:
    """A job, and whether it is new: False if an equal one existed already."""

    job: uuid.UUID
    new: bool


def job_key(kind: str, payload: Payload, *inputs: str) -> str:
    """Return the idempotency key of a deterministic job: the same work on the same inputs is one job."""
    fields = type(payload).model_fields
    silent = {name for name in payload.added if getattr(payload, name) == fields[name].default}
    body = json.dumps([kind, payload.model_dump(mode="json", exclude=silent), *inputs], sort_keys=True)
    return sha256(body)


def submit(
    kind: str, queue: Queue, payload: Payload, idempotency_key: str, *, members: tuple[str, Sequence[Payload]] = ("", ())
) -> Submitted:
    """Insert one job and publish it; return the existing job if there is an equal one.

    Args:
        kind: the task's name.
        queue: of the job and its members.
        payload: of the job.
        idempotency_key: of the job.
        members: the task's name and the payloads of the members, for a job that leads a gang.
    """
    # Rows are locked in the order of ids, and a leader's before its members'.
    first, *others = sorted(uuid.uuid4() for _ in (payload, *members[1]))
    job = ledger.NewJob(kind=kind, queue=queue.value, payload=payload, idempotency_key=idempotency_key, id=first)
    gang = [
        ledger.NewJob(members[0], queue.value, member, f"{idempotency_key}#{number}", parent=first, id=id_)
        for number, (member, id_) in enumerate(zip(members[1], others, strict=True), 1)
    ]
    with transaction() as connection:
        new = ledger.insert(connection, [job])
        if new and gang:
            ledger.insert(connection, gang)
        found = new[0] if new else ledger.find_by_key(connection, idempotency_key)
    assert found is not None
    if new:
        publish_now(queue)
    return Submitted(job=found, new=bool(new))


def publish_now(queue: Queue) -> int:
    """Publish queued jobs, the oldest first, as far as the queue's share of Redis allows; return how many. Maintenance does the rest.

    This is a round of the relay, so that new jobs neither overtake old ones nor pile up in Redis.
    """
    try:
        return relay.publish_queued(queue.value, pending, publish)
    except (OperationalError, RedisError, OSError, Unavailable, DBAPIError) as error:
        logger.warning("not published now (%s): the job waits in Postgres, and the workers' maintenance publishes it", type(error).__name__)
        return 0
