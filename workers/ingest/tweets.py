"""Ingests tweets: rows go by COPY into a temporary table, and from there into `tweet`, where a known id is left as it is.

Memory is constant, whatever the size of the source.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from uuid import UUID

from sqlalchemy import Connection, text

from schemas.records import TweetRecord
from workers.database import copy_rows, transaction
from workers.files import sha256
from workers.ingest import rejected_rows
from workers.ingest.counts import Counts, Reasons
from workers.ingest.readers.row import key, place
from workers.ingest.source import Cursor, Source, SourceLine

_BATCH_LINES = 5_000
_BATCH_CHARACTERS = 4_000_000
# A slow stream is stored as it comes: no tweet waits longer for its batch than until the next one after this many seconds.
_BATCH_SECONDS = 1.0

_INCOMING = (
    "CREATE TEMPORARY TABLE incoming (ordinal int, id text, source text, text text, author text, lang text, "
    "created_at timestamptz, conversation text, text_hash text) ON COMMIT DROP"
)
_COPY_TWEETS = "COPY incoming FROM STDIN"
# What was forgotten does not come back. An id that was made from a text is known by it. While nothing is forgotten, no row is judged.
# LIMIT keeps the planner at one look into the index a row.
_LEAVE_OUT_FORGOTTEN = """
DELETE FROM incoming WHERE EXISTS (SELECT FROM forgotten) AND (
    (SELECT true FROM forgotten WHERE kind = 'tweet' AND digest = sha256(convert_to(incoming.id, 'UTF8')) LIMIT 1)
    OR (SELECT true FROM forgotten WHERE kind = 'author' AND digest = sha256(convert_to(incoming.author, 'UTF8')) LIMIT 1)
    OR incoming.id = 'sha256-' || left(incoming.text_hash, 32)
       AND (SELECT true FROM forgotten WHERE kind = 'text' AND digest = decode(incoming.text_hash, 'hex') LIMIT 1))
"""
# Sorted, so that two ingests of the same tweets wait for each other instead of dying of a deadlock. What is selected in the end sees the
# table as it was before: a text is the same as another's if it was there under another id, or comes a second time.
_INSERT_TWEETS = """
WITH stored AS (
    INSERT INTO tweet (id, source, text, author, lang, created_at, conversation, text_hash)
    SELECT id, source, text, author, lang, created_at, conversation, text_hash FROM incoming ORDER BY id, ordinal
    ON CONFLICT (id) DO NOTHING
    RETURNING text_hash)
SELECT count(*) AS inserted, count(*) - count(DISTINCT text_hash) FILTER (WHERE before IS NULL) AS same_text
FROM (SELECT text_hash, (SELECT tweet.id FROM tweet WHERE tweet.text_hash = stored.text_hash LIMIT 1) AS before FROM stored) AS judged
"""
# LIMIT keeps the planner at one look into the index a row, however large the table is.
_COLLISIONS = """
SELECT incoming.ordinal FROM incoming
CROSS JOIN LATERAL (SELECT text_hash FROM tweet WHERE tweet.id = incoming.id LIMIT 1) AS known
WHERE known.text_hash <> incoming.text_hash ORDER BY incoming.ordinal
"""
COLLIDES = "its id is known with another text, which stays: were the ids rounded, or is this a later version of the text?"


def ingest_source(source: Source, after: int = 0, on_progress: Callable[[Counts], None] | None = None) -> Counts:
    """Store the tweets of a source: see `copy_tweets`.

    Args:
        source: where they come from.
        after: the position of its cursor, behind which it goes on.
        on_progress: called after each batch with the counts so far.
    """
    return copy_tweets(source.lines(after), source.origin, on_progress=on_progress, cursor=source.cursor)


def copy_tweets(
    lines: Iterable[SourceLine],
    origin: str,
    job: UUID | None = None,
    on_progress: Callable[[Counts], None] | None = None,
    cursor: Cursor | None = None,
) -> Counts:
    """Store tweets; of equal ids the first one stays. Rejected lines are kept in `rejected_row`, once.

    Args:
        lines: what a source yields; with a cursor, only lines after its position.
        origin: the name under which rejected lines are kept, such as the file's.
        job: the job to which the rejected lines belong.
        on_progress: called after each batch with the counts so far.
        cursor: advanced with each batch in the same transaction, reset at the end.

    Raises:
        Unavailable: Postgres does not answer. What was stored stays, and the cursor stands behind it.
        Exception: what `lines` raises; what it yielded before is stored.
    """
    counts = Counts()
    for batch in _batches(lines):
        with transaction() as connection:
            counts += _store(connection, batch, origin, job)
            if cursor is not None:
                # More rows of the last line may follow: it is read again.
                cursor.advance(connection, batch[-1].number - 1)
        if on_progress is not None:
            on_progress(counts)
    if cursor is not None:
        cursor.reset()
    return counts


def _batches(lines: Iterable[SourceLine]) -> Iterator[list[SourceLine]]:
    batch: list[SourceLine] = []
    characters, started = 0, time.monotonic()
    try:
        for line in lines:
            if not batch:
                started = time.monotonic()
            batch.append(line)
            characters += len(line.tweet.text) if line.tweet else 0
            if len(batch) >= _BATCH_LINES or characters >= _BATCH_CHARACTERS or time.monotonic() - started >= _BATCH_SECONDS:
                full, batch, characters = batch, [], 0
                yield full
    except (Exception, KeyboardInterrupt):
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _store(connection: Connection, batch: Sequence[SourceLine], origin: str, job: UUID | None) -> Counts:
    tweets = [line for line in batch if line.tweet is not None]
    refused = [row for line in batch if (row := line.rejected) is not None]
    inserted, same_text, forgotten, collisions = insert_tweets(connection, [line.tweet for line in tweets if line.tweet])
    collided = [(key(line.number, line.unit, line.item), "id", COLLIDES) for line in (tweets[ordinal] for ordinal in collisions)]
    rejected_rows.keep(
        connection, origin, [*((key(row.line, row.unit, row.item), row.field, row.reason) for row in refused), *collided], job
    )
    return Counts(
        read=len(batch),
        inserted=inserted,
        duplicates=len(tweets) - inserted - len(collisions) - forgotten,
        collisions=len(collisions),
        forgotten=forgotten,
        rejected=len(refused),
        same_text=same_text,
        notices=Counter(line.notice for line in batch if line.notice is not None),
        unusable=Counter(name for line in batch for name in line.unusable),
        reasons=Reasons((place(row.line, row.unit, row.item), row.field, row.reason) for row in refused),
    )


def insert_tweets(connection: Connection, tweets: Sequence[TweetRecord]) -> tuple[int, int, int, Sequence[int]]:
    """Store what is new: how many are, how many of them say what another one says, how many were forgotten, and which collide.

    Until the end of the transaction the temporary table `incoming` holds those that were not forgotten, by their places as `ordinal`.
    """
    if not tweets:
        return 0, 0, 0, ()
    connection.execute(text(_INCOMING))
    rows = (
        (ordinal, each.id, each.source, each.text, each.author, each.lang, each.created_at, each.conversation, sha256(each.text))
        for ordinal, each in enumerate(tweets)
    )
    copy_rows(connection, _COPY_TWEETS, rows)
    forgotten = connection.execute(text(_LEAVE_OUT_FORGOTTEN)).rowcount
    stored = connection.execute(text(_INSERT_TWEETS)).one()
    all_new = stored.inserted + forgotten == len(tweets)
    collisions = () if all_new else connection.execute(text(_COLLISIONS)).scalars().all()
    return stored.inserted, stored.same_text, forgotten, collisions
