"""Removes what is old: tweets with what hangs on them, ended jobs and their events, thousands of rows a transaction.

Each table is walked once by its key, whatever is old in it: so no statement takes longer the more there is, and an interrupted run loses
nothing. What an unfinished job needs stays, and so do tweets that people's pairs and training examples were made of, unless these are to
go too. Jobs whose results are figures stay: trainings that made a model, syntheses, evaluations, comparisons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from schemas import roles
from schemas.states import FINAL_STATES, RETRIABLE
from workers.catalog.removal import ended_jobs, forgetting, taken_back
from workers.catalog.removal.taken_back import Loss
from workers.database import get_engine, transaction
from workers.errors import UserError
from workers.jobs.members import MEMBER

_AT_ONCE = 10_000
_ENDED = [state.value for state in FINAL_STATES]
_RETRIABLE_STATES = [state.value for state in RETRIABLE]
_TABLES = ("tweet", "summary", "selection", "job", "job_event")

_CUTOFF = "SELECT now() - cast(:age AS interval)"
_SIZES = "SELECT coalesce(sum(pg_total_relation_size(cast(name AS regclass))), 0) FROM unnest(cast(:tables AS text[])) AS name"
# It takes as long as it takes: nothing waits for it.
_NO_TIMEOUT = "SET statement_timeout = 0"
_TIMEOUT_AGAIN = "RESET statement_timeout"
_VACUUM = f"VACUUM (ANALYZE) {', '.join(_TABLES)}"

# Asked once the shards are gone: a job without any can't be reopened, so nobody will read its selection.
_SELECTS_NO_MORE = """
job.kind IN ('summarization.summarize', 'summarization.stream') AND job.state = ANY(:ended) AND job.finished_at < :cutoff
AND NOT EXISTS (SELECT FROM job AS shard WHERE shard.parent = job.id)
"""
_OLD_SELECTIONS = f"""
SELECT job.id, (SELECT max(ordinal) FROM selection WHERE selection.job = job.id) AS last FROM job WHERE {_SELECTS_NO_MORE}
"""  # noqa: S608
_DELETE_SELECTIONS = f"""
DELETE FROM selection USING job
WHERE job.id = :job AND selection.job = :job AND ordinal >= :first AND ordinal < :end AND {_SELECTS_NO_MORE}
"""  # noqa: S608
# A new job may select a tweet at this moment: what locks it first is asked afterwards whether anything needs it.
_OLD_TWEETS = """
WITH part AS (SELECT id, received_at FROM tweet WHERE id > :after ORDER BY id LIMIT :most),
old AS (SELECT tweet.id FROM tweet JOIN part ON part.id = tweet.id WHERE part.received_at < :cutoff ORDER BY tweet.id FOR UPDATE OF tweet)
SELECT (SELECT max(id) FROM part) AS last, coalesce((SELECT array_agg(id) FROM old), '{}') AS ids
"""
# Somebody may be retrying at this moment what these tweets are of, shards of streams or parents of others: what can't be locked is being
# retried, and who retries the rest waits until the tweets are gone.
_RETRIABLE = """
SELECT part.id FROM job AS part JOIN stream_shard AS shard ON shard.job = part.id
WHERE part.state = ANY(:retriable) AND EXISTS (
    SELECT FROM arrival WHERE arrival.stream = shard.stream AND arrival.ordinal BETWEEN shard.first AND shard.last
    AND arrival.tweet = ANY(cast(:ids AS text[])))
UNION ALL
SELECT job.id FROM job WHERE job.state = ANY(:retriable) AND job.kind <> 'summarization.stream' AND job.id = ANY(ARRAY(
    SELECT DISTINCT selection.job FROM selection WHERE selection.tweet = ANY(cast(:ids AS text[]))))
"""
_LOCK_RETRIABLE = "SELECT id FROM job WHERE id = ANY(:jobs) ORDER BY id FOR SHARE SKIP LOCKED"
# LIMIT keeps the planner at one look into an index a row, however large the tables are.
# A stream goes on for ever: of what it selected it needs its backlog, and the shards that have not ended.
# What has not ended is found once, by the indexes of queued and of running jobs: asked tweet by tweet, it would be all shards each time.
_UNNEEDED = """
WITH unfinished AS MATERIALIZED (
    SELECT id, parent FROM job WHERE state = 'queued' UNION ALL SELECT id, parent FROM job WHERE state = 'running'
    UNION ALL SELECT id, parent FROM job WHERE id = ANY(:retried)),
read AS MATERIALIZED (SELECT DISTINCT parent FROM unfinished WHERE parent IS NOT NULL),
stretch AS MATERIALIZED (
    SELECT shard.stream, shard.first, shard.last FROM unfinished JOIN stream_shard AS shard ON shard.job = unfinished.id)
SELECT old.id FROM unnest(cast(:ids AS text[])) AS old (id)
WHERE (
    SELECT true FROM selection JOIN job ON job.id = selection.job
    WHERE selection.tweet = old.id AND job.kind <> 'summarization.stream'
    AND (job.state <> ALL(:ended) OR job.id IN (SELECT parent FROM read) OR job.id = ANY(:retried))
    LIMIT 1) IS NULL
AND (
    SELECT true FROM arrival JOIN stream ON stream.name = arrival.stream
    WHERE arrival.tweet = old.id AND (arrival.ordinal > stream.sharded OR EXISTS (
        SELECT FROM stretch WHERE stretch.stream = arrival.stream AND arrival.ordinal BETWEEN stretch.first AND stretch.last))
    LIMIT 1) IS NULL
AND (NOT :keep_training OR (SELECT true FROM example WHERE example.tweet = old.id LIMIT 1) IS NULL)
AND (NOT :keep_training OR (SELECT true FROM curated WHERE curated.key = old.id AND curated.text IS NULL LIMIT 1) IS NULL)
"""
_OF_TWEETS = {
    "summaries": "DELETE FROM summary WHERE tweet = ANY(cast(:ids AS text[]))",
    "selections": "DELETE FROM selection WHERE tweet = ANY(cast(:ids AS text[]))",
    "tweets": "DELETE FROM tweet WHERE id = ANY(cast(:ids AS text[]))",
}
# Their ids grow with time, but for what was committed out of order: a whole part of newer ones ends the walk.
_EVENTS = """
WITH part AS (SELECT id, at, job FROM job_event WHERE id > :after ORDER BY id LIMIT :most),
gone AS (
    DELETE FROM job_event USING part JOIN job ON job.id = part.job
    WHERE job_event.id = part.id AND part.at < :cutoff AND job.state = ANY(:ended) RETURNING job_event.id)
SELECT (SELECT max(id) FROM part) AS last, (SELECT min(at) < :cutoff FROM part) AS has_old, (SELECT count(*) FROM gone) AS gone
"""
Batch = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True)
class Pruned:
    """What was removed, in rows.

    Attributes:
        cutoff: what is older went.
        counts: by name: tweets, summaries, selections, examples, events, jobs.
        losses: datasets that lost examples, where these were not to be kept.
        trainings: jobs of trainings that are gone: their folders of runs are of no use.
        bytes_before: of the tables with their indexes.
        bytes_after: once the space was made free for new rows.
    """

    cutoff: datetime
    counts: dict[str, int]
    losses: tuple[Loss, ...] = ()
    trainings: tuple[UUID, ...] = ()
    bytes_before: int = 0
    bytes_after: int = 0


def prune(
    age: timedelta, *, keep_training: bool = True, dry_run: bool = False, on_progress: Callable[[Counter[str]], None] = lambda _: None
) -> Pruned:
    """Remove what is older than `age`.

    Args:
        age: of a tweet since it was received, of a job since its end, of an event.
        keep_training: leave tweets that examples of datasets or people's pairs are about.
        dry_run: count in one transaction, and roll it back.
        on_progress: called after each transaction with the counts so far.

    Raises:
        UserError: this login does not own the tables.
    """
    with _batches(dry_run=dry_run) as batch:
        with batch() as connection:
            if not roles.owns_tables(connection):
                raise UserError("to prune takes the login of the tables' owner, as `tweetmill migrate` does: set DATABASE_URL to it")
            cutoff = connection.execute(text(_CUTOFF), {"age": age}).scalar_one()
            before: int = connection.execute(text(_SIZES), {"tables": list(_TABLES)}).scalar_one()
        walk = _Walk(batch, cutoff, on_progress)
        walk.events()
        walk.jobs(shards=True)
        walk.selections()
        walk.tweets(keep_training=keep_training)
        walk.jobs(shards=False)
        with batch() as connection:
            losses = taken_back.losses(connection, walk.lost)
    after = before if dry_run else _vacuum()
    return Pruned(cutoff, dict(walk.counts), losses, tuple(walk.trainings), int(before), int(after))


@contextmanager
def _batches(*, dry_run: bool) -> Iterator[Batch]:
    """Yield what begins the transaction of a batch: one each, or for a dry run one for all, which is rolled back."""
    if not dry_run:
        yield transaction
        return
    with transaction() as connection:
        yield lambda: nullcontext(connection)
        connection.rollback()


class _Walk:
    """Walks through the tables, batch by batch, and counts what goes."""

    def __init__(self, batch: Batch, cutoff: datetime, on_progress: Callable[[Counter[str]], None]) -> None:
        self._batch = batch
        self._values: dict[str, Any] = {"cutoff": cutoff, "ended": _ENDED, "most": _AT_ONCE, "member": MEMBER}
        self._on_progress = on_progress
        self.counts: Counter[str] = Counter(dict.fromkeys((*_OF_TWEETS, "examples", "events", "jobs"), 0))
        self.lost: Counter[int] = Counter()
        self.trainings: list[UUID] = []

    def selections(self) -> None:
        """Remove what ended jobs had selected whose shards are gone."""
        with self._batch() as connection:
            old = connection.execute(text(_OLD_SELECTIONS), self._values).all()
        for job, last in old:
            for first in range(0, -1 if last is None else last + 1, _AT_ONCE):
                with self._batch() as connection:
                    values = self._values | {"job": job, "first": first, "end": first + _AT_ONCE}
                    self.counts["selections"] += connection.execute(text(_DELETE_SELECTIONS), values).rowcount
                self._on_progress(self.counts)

    def tweets(self, *, keep_training: bool) -> None:
        """Remove tweets that nothing needs, with their summaries."""
        after: str | None = ""
        while after is not None:
            with self._batch() as connection:
                part = connection.execute(text(_OLD_TWEETS), self._values | {"after": after}).one()
                ids = self._unneeded(connection, part.ids, keep_training=keep_training) if part.ids else []
                if ids:
                    self._remove(connection, list(ids))
            after = part.last
            self._on_progress(self.counts)

    def _unneeded(self, connection: Connection, ids: list[str], *, keep_training: bool) -> Sequence[str]:
        """Return the ids of tweets that nothing needs, nor what is being retried at this moment."""
        values = {"ids": ids, "ended": _ENDED, "retriable": _RETRIABLE_STATES, "keep_training": keep_training}
        retriable = set(connection.execute(text(_RETRIABLE), values).scalars())
        free = connection.execute(text(_LOCK_RETRIABLE), {"jobs": list(retriable)}).scalars() if retriable else ()
        return connection.execute(text(_UNNEEDED), values | {"retried": list(retriable.difference(free))}).scalars().all()

    def _remove(self, connection: Connection, ids: list[str]) -> None:
        self.counts["examples"] += forgetting.remove_examples(connection, ids, self.lost)
        for name, statement in _OF_TWEETS.items():
            self.counts[name] += connection.execute(text(statement), {"ids": ids}).rowcount

    def events(self) -> None:
        """Remove events of ended jobs."""
        after: int | None = 0
        while after is not None:
            with self._batch() as connection:
                part = connection.execute(text(_EVENTS), self._values | {"after": after}).one()
            self.counts["events"] += part.gone
            after = part.last if part.has_old else None
            self._on_progress(self.counts)

    def jobs(self, *, shards: bool) -> None:
        """Remove jobs that ended without a result that stays: shards, or once these are gone what they were of, and all others."""
        created, after = datetime.min.replace(tzinfo=UTC), UUID(int=0)
        while True:
            with self._batch() as connection:
                values = self._values | {"created": created, "after": after, "shards": shards}
                part = ended_jobs.look(connection, values)
                removed, trainings = ended_jobs.remove(connection, self._values, [job.id for job in part if job.goes])
            self.counts["jobs"] += removed
            self.trainings += trainings
            self._on_progress(self.counts)
            if len(part) < _AT_ONCE:
                return
            created, after = part[-1].created_at, part[-1].id


def _vacuum() -> int:
    """Make the space of deleted rows free for new ones; return what the tables take then."""
    with get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(_NO_TIMEOUT))
        connection.execute(text(_VACUUM))
        size: int = connection.execute(text(_SIZES), {"tables": list(_TABLES)}).scalar_one()
        connection.execute(text(_TIMEOUT_AGAIN))
    return size
