"""Make the shards of a stream for tests as a producer does: each asks anew which model is in service."""

from __future__ import annotations

import uuid

from sqlalchemy import text

from schemas.payloads import Queue, ShardSpec
from schemas.states import JobState
from tasks.enqueue import publish_now
from tasks.summarization import SUMMARIZE, SUMMARIZE_SHARD
from tests.support.jobs import Work
from workers.catalog import service
from workers.database import session_on, transaction
from workers.jobs import ledger

_SELECT = """
INSERT INTO selection (job, ordinal, tweet)
SELECT :job, place, id FROM (
  SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM tweet ORDER BY id OFFSET :first LIMIT :rows) AS chosen
"""


class Shards:
    """Shards of `rows` tweets each, one after the other, over all tweets in the order of their ids."""

    def __init__(self, stream: str, rows: int, *, guard: bool = True) -> None:
        self.stream, self.rows, self.guard = stream, rows, guard
        self.made: list[uuid.UUID] = []
        parent = ledger.NewJob(SUMMARIZE, Queue.SUMMARIZATION.value, Work(), uuid.uuid4().hex, remaining=1, state=JobState.RUNNING)
        with transaction() as connection:
            [self.parent] = ledger.insert(connection, [parent])

    def make(self, *, publish: bool = False) -> uuid.UUID:
        """Make the next shard of the model that is in service now."""
        ordinal = len(self.made)
        first = ordinal * self.rows
        with transaction() as connection, session_on(connection) as session:
            chosen = service.in_service(session, self.stream).of_shard(ordinal)
            connection.execute(text(_SELECT), {"job": self.parent, "first": first, "rows": self.rows})
            last = first + self.rows
            spec = ShardSpec(model_id=chosen.model_id, first=first, last=last, guard=self.guard, canary=chosen.canary)
            new = ledger.NewJob(SUMMARIZE_SHARD, Queue.SUMMARIZATION.value, spec, uuid.uuid4().hex, parent=self.parent)
            self.made += ledger.insert(connection, [new])
        if publish:
            publish_now(Queue.SUMMARIZATION)
        return self.made[-1]
