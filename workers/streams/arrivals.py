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
# All streams that have a tweet which gets a later text: in the order of their names, so that two revising at once wait for each other.
_LOCK = """
SELECT name, owner, address, job, arrived, sharded, counters FROM stream
WHERE name = :name OR name = ANY(SELECT stream FROM arrival WHERE tweet = ANY(cast(:revised AS text[])))
ORDER BY name FOR UPDATE
"""
# From what was copied for the tweets. One that was here before keeps its place, so that what is redelivered adds nothing.
_ARRIVE = """
INSERT INTO arrival (stream, ordinal, tweet, tokens, said_at)
SELECT :stream, :arrived + row_number() OVER (ORDER BY came.ordinal), came.id, ceil(octet_length(came.text) / 4.0),
       CASE WHEN said.at < now() THEN said.at END
FROM (SELECT DISTINCT ON (id) id, ordinal, text FROM incoming ORDER BY id, ordinal) AS came
LEFT JOIN unnest(cast(:moments AS timestamptz[])) WITH ORDINALITY AS said(at, place) ON said.place = came.ordinal + 1
WHERE NOT EXISTS (SELECT FROM arrival WHERE arrival.tweet = came.id AND arrival.stream = :stream)
"""
# Locked as a deletion would: whoever stores a summary of the earlier text has done so before the next statement looks, or sees the later.
_LOCK_EARLIER = """
SELECT tweet.id FROM tweet JOIN jsonb_to_recordset(cast(:rows AS jsonb)) AS later(id text, hash text) ON later.id = tweet.id
WHERE tweet.text_hash <> later.hash ORDER BY tweet.id FOR UPDATE OF tweet
"""
_REVISE = """
UPDATE tweet SET text = later.text, text_hash = later.hash
FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS later(id text, text text, hash text)
WHERE tweet.id = later.id AND tweet.id = ANY(cast(:tweets AS text[]))
"""
_FORGET_SUMMARIES = "DELETE FROM summary WHERE tweet = ANY(cast(:tweets AS text[]))"
# Behind all others again, where a shard has them already.
_ARRIVE_AGAIN = """
WITH again AS (
  SELECT tweet, row_number() OVER (ORDER BY ordinal) AS place FROM arrival
  WHERE stream = :stream AND tweet = ANY(cast(:tweets AS text[])) AND ordinal <= :sharded)
UPDATE arrival SET ordinal = :arrived + again.place, arrived_at = now(), tokens = ceil(octet_length(tweet.text) / 4.0)
FROM again JOIN tweet ON tweet.id = again.tweet
WHERE arrival.stream = :stream AND arrival.tweet = again.tweet
"""
_SET_ARRIVED = "UPDATE stream SET arrived = arrived + :more, last_arrival_at = now() WHERE name = :stream"
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
    later = {event.tweet.id: event.tweet.text for event in events if event.tweet is not None and event.revised}
    locked = connection.execute(text(_LOCK), {"name": held.name, "revised": list(later)}).all()
    row = next((each for each in locked if each.name == held.name and each.owner == held.owner), None)
    if row is None:
        raise StreamLost
    counts: Counter[str] = Counter(events=len(events))
    tweets = deletions.apply(connection, events)
    arrived = int(row.arrived)
    if tweets:
        collisions = _store_tweets(connection, tweets, counts)
        moments = [event.moment for event in tweets]
        queued = _arrive(connection, held, arrived, moments)
        revised = _revise(connection, tweets)
        again = _arrive_again(connection, held.name, revised, arrived + queued, row.sharded)
        for other in locked:
            if other.name != held.name and (more := _arrive_again(connection, other.name, revised, other.arrived, other.sharded)):
                connection.execute(text(_SET_ARRIVED), {"stream": other.name, "more": more})
        rejected_rows.keep(connection, row.address, ((tweets[at].tweet.id, "id", COLLIDES) for at in collisions))  # type: ignore[union-attr]
        counts["revised"] += len(revised)
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


def _revise(connection: Connection, events: Sequence[Event]) -> list[str]:
    """Put later texts in the place of known ones, take their summaries away, of whatever model, and return the ids of their tweets."""
    later = {event.tweet.id: event.tweet.text for event in events if event.tweet is not None and event.revised}
    if not later:
        return []
    rows = json.dumps([{"id": id_, "text": said, "hash": sha256(said)} for id_, said in later.items()])
    revised = list(connection.execute(text(_LOCK_EARLIER), {"rows": rows}).scalars())
    connection.execute(text(_REVISE), {"rows": rows, "tweets": revised})
    connection.execute(text(_FORGET_SUMMARIES), {"tweets": revised})
    return revised


def _arrive_again(connection: Connection, stream: str, tweets: Sequence[str], arrived: int, sharded: int) -> int:
    """Let tweets that have a shard wait for a new summary, behind all that has arrived for a stream; return how many do."""
    if not tweets:
        return 0
    values = {"stream": stream, "tweets": list(tweets), "arrived": arrived, "sharded": sharded}
    return connection.execute(text(_ARRIVE_AGAIN), values).rowcount


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
    # Events of one kind alone must not take the counts of the others away.
    numbers = {name: number for name, number in before.items() if name != "notices"}
    return {**numbers, **{name: numbers.get(name, 0) + number for name, number in counts.items()}, "notices": dict(notices)}
