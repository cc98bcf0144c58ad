"""Stores what a live source says in one transaction: tweets, their places in the backlog, what was rejected, and the cursor."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from workers.files import sha256
from workers.ingest import rejected_rows
from workers.ingest.live import Event
from workers.ingest.tweets import COLLIDES, insert_tweets
from workers.jobs.events import record
from workers.streams import deletions
from workers.streams.holding import LEASE, Held, StreamLost

# Raw: thousands of rows a statement, and the row of the stream is the lock under which ordinals are given.
_LOCK = "SELECT address, job, arrived, sharded, counters FROM stream WHERE name = :name AND owner = :owner FOR UPDATE"
# From what was copied for the tweets. One that was here before keeps its place, so that what is redelivered adds nothing.
_ARRIVE = """
INSERT INTO arrival (stream, ordinal, tweet, tokens, said_at)
SELECT :stream, :arrived + row_number() OVER (ORDER BY came.ordinal), came.id, ceil(octet_length(came.text) / 4.0),
       CASE WHEN said.at < now() THEN said.at END
FROM (SELECT DISTINCT ON (id) id, ordinal, text FROM incoming ORDER BY id, ordinal) AS came
LEFT JOIN unnest(cast(:moments AS timestamptz[])) WITH ORDINALITY AS said(at, place) ON said.place = came.ordinal + 1
WHERE NOT EXISTS (SELECT FROM arrival WHERE arrival.tweet = came.id AND arrival.stream = :stream)
"""
_REVISE = """
UPDATE tweet SET text = later.text, text_hash = later.hash
FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS later(id text, text text, hash text)
WHERE tweet.id = later.id AND tweet.text_hash <> later.hash
RETURNING tweet.id
"""
_FORGET_SUMMARIES = "DELETE FROM summary WHERE tweet = ANY(cast(:tweets AS text[]))"
# Behind all others again, where a shard has them already.
_ARRIVE_AGAIN = """
UPDATE arrival SET ordinal = :arrived + again.place, arrived_at = now(), tokens = ceil(octet_length(tweet.text) / 4.0)
FROM unnest(cast(:tweets AS text[])) WITH ORDINALITY AS again(id, place) JOIN tweet ON tweet.id = again.id
WHERE arrival.stream = :stream AND arrival.tweet = again.id AND arrival.ordinal <= :sharded
"""
_ADVANCE = """
UPDATE stream SET cursor = :cursor, arrived = :arrived, counters = cast(:counters AS jsonb), seen_at = now(),
    lease_until = now() + make_interval(secs => :lease),
    last_arrival_at = CASE WHEN :arrived > arrived THEN now() ELSE last_arrival_at END
WHERE name = :name
"""


@dataclass(frozen=True)
class Stored:
    """What became of events.

    Attributes:
        queued: tweets that have a place in the backlog now.
        counters: of the stream, over all its life: `events`, `tweets`, `new`, `collisions`, `forgotten`, `rejected`, `deletions`,
            `revised`, `holes`, and `notices` by their kinds.
    """

    queued: int
    counters: dict[str, Any]


def store(connection: Connection, held: Held, events: Sequence[Event]) -> Stored:
    """Store events and the cursor behind them, in the caller's transaction. Events that come a second time add nothing.

    Args:
        connection: in a transaction.
        held: the stream.
        events: in the order in which they came, at least one.

    Raises:
        StreamLost: another process has the stream: roll back.
    """
    row = connection.execute(text(_LOCK), {"name": held.name, "owner": held.owner}).one_or_none()
    if row is None:
        raise StreamLost
    counts: Counter[str] = Counter(events=len(events))
    tweets = deletions.apply(connection, events)
    arrived = int(row.arrived)
    if tweets:
        collisions = _store_tweets(connection, tweets, counts)
        moments = [event.moment for event in tweets]
        queued = _arrive(connection, held, arrived, moments)
        again = _revise(connection, held, tweets, arrived + queued, row.sharded)
        rejected_rows.keep(connection, row.address, ((tweets[at].tweet.id, "id", COLLIDES) for at in collisions))  # type: ignore[union-attr]
        counts["revised"] += again
        arrived += queued + again
    _keep_the_rest(connection, row, events, counts)
    counters = _added(row.counters, counts, events)
    values = {"name": held.name, "cursor": events[-1].cursor, "arrived": arrived, "counters": json.dumps(counters), "lease": LEASE}
    connection.execute(text(_ADVANCE), values)
    return Stored(arrived - int(row.arrived), counters)


def _store_tweets(connection: Connection, events: Sequence[Event], counts: Counter[str]) -> list[int]:
    """Store new tweets; return the places of those whose id is known with another text that stays."""
    inserted, _, forgotten, collisions = insert_tweets(connection, [event.tweet for event in events if event.tweet is not None])
    collided = [at for at in collisions if not events[at].revised]
    counts.update(tweets=len(events), new=inserted, collisions=len(collided), forgotten=forgotten)
    return collided


def _arrive(connection: Connection, held: Held, arrived: int, moments: Sequence[datetime | None]) -> int:
    return connection.execute(text(_ARRIVE), {"stream": held.name, "arrived": arrived, "moments": list(moments)}).rowcount


def _revise(connection: Connection, held: Held, events: Sequence[Event], arrived: int, sharded: int) -> int:
    """Put later texts in the place of known ones, take their summaries away, and return how many wait for a new one behind all others."""
    later = {event.tweet.id: event.tweet.text for event in events if event.tweet is not None and event.revised}
    if not later:
        return 0
    rows = [{"id": id_, "text": said, "hash": sha256(said)} for id_, said in later.items()]
    revised = connection.execute(text(_REVISE), {"rows": json.dumps(rows)}).scalars().all()
    connection.execute(text(_FORGET_SUMMARIES), {"tweets": list(revised)})
    values = {"stream": held.name, "tweets": list(revised), "arrived": arrived, "sharded": sharded}
    connection.execute(text(_ARRIVE_AGAIN), values)
    return len(revised)


def _keep_the_rest(connection: Connection, stream: Row[Any], events: Sequence[Event], counts: Counter[str]) -> None:
    """Keep what was rejected and missed, and count what was taken back."""
    rejected = [event.rejected for event in events if event.rejected is not None]
    rejected_rows.keep(connection, stream.address, ((row.key, row.field, row.reason) for row in rejected))
    counts["rejected"] += len(rejected)
    for event in events:
        if event.hole is not None and stream.job is not None:
            record(connection, stream.job, 0, "hole", event.hole.reason)
    counts["holes"] += sum(event.hole is not None for event in events)
    counts["deletions"] += sum(event.deleted is not None for event in events)


def _added(before: dict[str, Any], counts: Counter[str], events: Sequence[Event]) -> dict[str, Any]:
    notices = Counter(before.get("notices", {})) + Counter(event.notice for event in events if event.notice is not None)
    return {**{name: before.get(name, 0) + number for name, number in counts.items()}, "notices": dict(notices)}
