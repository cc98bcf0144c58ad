"""Makes shards of a stream's backlog: when one is due, and how it is cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from schemas.payloads import Queue, ShardSpec
from workers.catalog import models
from workers.database import session_on
from workers.errors import UserError
from workers.jobs import fanout, ledger
from workers.streams import unfinished
from workers.streams.holding import Held, StreamLost

# Raw: the beginning of a backlog, which may be long, in one read of its index.
_WAITING = """
SELECT arrived, sharded, count(next.tokens) AS tweets, coalesce(sum(next.tokens), 0) AS tokens,
       extract(epoch FROM now() - min(next.arrived_at)) AS age
FROM stream LEFT JOIN LATERAL (
  SELECT tokens, arrived_at FROM arrival WHERE stream = :stream AND ordinal > sharded ORDER BY ordinal LIMIT :batch) AS next ON true
WHERE name = :stream GROUP BY name
"""
_LOCK = "SELECT model, job, arrived, sharded, shards FROM stream WHERE name = :name AND owner = :owner FOR UPDATE"
_SELECT = """
WITH next AS (
  SELECT ordinal, tweet, row_number() OVER (ORDER BY ordinal) AS place, sum(tokens) OVER (ORDER BY ordinal) AS tokens
  FROM (SELECT ordinal, tweet, tokens FROM arrival WHERE stream = :stream AND ordinal > :sharded ORDER BY ordinal LIMIT :batch) AS first),
chosen AS (SELECT * FROM next WHERE place = 1 OR tokens <= :max_tokens),
stored AS (INSERT INTO selection (job, ordinal, tweet) SELECT :parent, :rows + place - 1, tweet FROM chosen)
SELECT count(*) AS tweets, coalesce(max(tokens), 0) AS tokens, min(ordinal) AS first, max(ordinal) AS last FROM chosen
"""
_NOTE = """
INSERT INTO stream_shard (job, stream, first, last, model, tweets, tokens)
VALUES (:job, :stream, :first, :last, :model, :tweets, :tokens)
"""
_SHARDED = "UPDATE stream SET sharded = :last, shards = shards + :made WHERE name = :stream"


class StreamCancelled(UserError):
    """The job of this stream was cancelled, so no shard is added to it. What waits is kept: the next start goes on with it."""


@dataclass(frozen=True)
class Limits:
    """When a shard is made.

    Attributes:
        batch: tweets of a shard at most; as many make one due.
        max_tokens: of all its tweets together, estimated by a quarter of the bytes of their texts; as many make one due.
        max_age: seconds for which the oldest tweet waits at most, as long as fewer shards than `in_flight` are unfinished.
        in_flight: unfinished shards at most.
    """

    batch: int
    max_tokens: int
    max_age: float
    in_flight: int


@dataclass(frozen=True)
class Waiting:
    """What waits for a shard.

    Attributes:
        tweets: that the next shard may take, at most `Limits.batch`.
        tokens: of these.
        age: seconds since the oldest of them arrived; 0 where there is none.
        backlog: tweets that have no shard yet.
        unfinished: shards that have not ended, those of earlier starts too.
    """

    tweets: int
    tokens: int
    age: float
    backlog: int
    unfinished: int


def is_due(waiting: Waiting, limits: Limits) -> bool:
    """Whether a shard is full, or its oldest tweet has waited long enough for others, and there is room for one more."""
    if not waiting.tweets or waiting.unfinished >= limits.in_flight:
        return False
    return waiting.tweets >= limits.batch or waiting.tokens >= limits.max_tokens or waiting.age >= limits.max_age


def waiting(connection: Connection, held: Held, limits: Limits) -> Waiting:
    """Return what waits for a shard, and how many shards are at work.

    Raises:
        StreamCancelled: its job was cancelled.
    """
    assert held.job is not None
    if fanout.find_open(connection, held.job) is None:
        raise StreamCancelled
    row = connection.execute(text(_WAITING), {"stream": held.name, "batch": limits.batch}).one()
    # Of the whole backlog it is known only how many arrived: some may have been deleted since.
    backlog = row.tweets if row.tweets < limits.batch else max(row.tweets, row.arrived - row.sharded)
    return Waiting(row.tweets, int(row.tokens), float(row.age or 0), int(backlog), unfinished.count(connection, held.name))


def make_shard(connection: Connection, held: Held, limits: Limits, kind: str, *, guard: bool) -> int:
    """Make a shard of the oldest tweets that wait, in the caller's transaction.

    Args:
        connection: in a transaction.
        held: the stream.
        limits: how much it takes.
        kind: the task's name.
        guard: whether summaries are checked.

    Returns:
        How many tweets it has; 0 where none waits.

    Raises:
        StreamLost: another process has the stream: roll back.
        StreamCancelled: its job was cancelled.
        NotFound: there is no such model.
    """
    row = connection.execute(text(_LOCK), {"name": held.name, "owner": held.owner}).one_or_none()
    if row is None:
        raise StreamLost
    parent = fanout.find_open(connection, row.job, lock=True)
    if parent is None:
        raise StreamCancelled
    values = {"stream": held.name, "sharded": row.sharded, "parent": row.job, "rows": parent.rows}
    chosen = connection.execute(text(_SELECT), {**values, "batch": limits.batch, "max_tokens": limits.max_tokens}).one()
    made = int(chosen.tweets > 0)
    # What is left where nothing waits was deleted.
    connection.execute(text(_SHARDED), {"stream": held.name, "last": chosen.last if made else row.arrived, "made": made})
    if made:
        _insert(connection, held, row, parent.rows, chosen._mapping, kind, guard)
    return int(chosen.tweets)


def _insert(connection: Connection, held: Held, stream: Any, rows: int, chosen: Any, kind: str, guard: bool) -> None:
    # Of each shard anew: what `latest` or a promotion means may change while the stream runs.
    with session_on(connection) as session:
        assigned = models.serving(session, held.name, stream.model).of_shard(stream.shards)
    shard = ledger.NewJob(
        kind=kind,
        queue=Queue.SUMMARIZATION.value,
        payload=ShardSpec(model_id=assigned.model_id, first=rows, last=rows + chosen["tweets"], guard=guard, canary=assigned.canary),
        idempotency_key=f"{stream.job}/{rows}",
        parent=stream.job,
    )
    fanout.add_shard(connection, stream.job, chosen["tweets"])
    ledger.insert(connection, [shard])
    connection.execute(text(_NOTE), {"job": shard.id, "stream": held.name, "model": assigned.model_id, **chosen})
