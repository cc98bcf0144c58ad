"""The bulk ways into Postgres: tweets, and the files that a person wrote.

Rows go by COPY into a temporary table, from there into the real one, where what is known already is left as it stands. Memory is
constant, whatever the size of the source.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, text

from schemas.forms import Form
from schemas.records import Tweet
from schemas.synthesis import Columns
from workers.database import copy_rows, transaction
from workers.errors import UserError
from workers.files import sha256
from workers.ingest import curated_files, pair_files, rejected_rows, shared_ends
from workers.ingest.bookmark import Bookmark
from workers.ingest.counts import Counts, Reasons
from workers.ingest.curated_files import BadLine, CuratedLine, Kind
from workers.ingest.readers.row import Unit, key, place

_BATCH_LINES = 5_000
_BATCH_CHARACTERS = 4_000_000
# A slow stream is stored as it comes: no tweet waits longer for its batch than until the next one after this many seconds.
_BATCH_SECONDS = 1.0


class Refused(Protocol):
    """Why a line holds no tweet. The reason never quotes it; `item` is its place where several stand on one line."""

    @property
    def line(self) -> int: ...  # noqa: D102
    @property
    def field(self) -> str | None: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def item(self) -> int | None: ...  # noqa: D102
    @property
    def unit(self) -> Unit: ...  # noqa: D102


class Line(Protocol):
    """What a source yields for line `number` (from 1): a tweet, a refusal, or a notice, which is no tweet. Several may bear one number."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def tweet(self) -> Tweet | None: ...  # noqa: D102
    @property
    def rejected(self) -> Refused | None: ...  # noqa: D102
    @property
    def notice(self) -> str | None: ...  # noqa: D102
    @property
    def unusable(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def item(self) -> int | None: ...  # noqa: D102
    @property
    def unit(self) -> Unit: ...  # noqa: D102


def copy_tweets(
    lines: Iterable[Line],
    origin: str,
    job: UUID | None = None,
    on_progress: Callable[[Counts], None] | None = None,
    bookmark: Bookmark | None = None,
) -> Counts:
    """Store tweets; of equal ids the first one stays. Refused lines are kept in `rejected_row`, once.

    Args:
        lines: what a source yields; with a bookmark, only lines after its position.
        origin: the name under which refused lines are kept, such as the file's.
        job: the job to which the refused lines belong.
        on_progress: hears the counts so far after each batch.
        bookmark: advanced with each batch in the same transaction, reset at the end.

    Raises:
        Unavailable: Postgres does not answer. What was stored stays, and a bookmark remembers it.
        Exception: what `lines` raises; what it yielded before is stored.
    """
    counts = Counts()
    for batch in _batches(lines):
        with transaction() as connection:
            counts += _store(connection, batch, origin, job)
            if bookmark is not None:
                # More rows of the last line may follow: it is read again.
                bookmark.advance(connection, batch[-1].number - 1)
        if on_progress is not None:
            on_progress(counts)
    if bookmark is not None:
        bookmark.reset()
    return counts


def _batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    batch: list[Line] = []
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


_INCOMING = (
    "CREATE TEMPORARY TABLE incoming (ordinal int, id text, source text, text text, author text, lang text, "
    "created_at timestamptz, conversation text, text_hash text) ON COMMIT DROP"
)
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
_COLLIDES = "its id is known with another text, which stays: were the ids rounded, or is this a later version of the text?"


def _store(connection: Connection, batch: Sequence[Line], origin: str, job: UUID | None) -> Counts:
    tweets = [line for line in batch if line.tweet is not None]
    refused = [row for line in batch if (row := line.rejected) is not None]
    inserted, same_text, collisions = _insert_tweets(connection, [line.tweet for line in tweets if line.tweet]) if tweets else (0, 0, [])
    collided = [(key(line.number, line.unit, line.item), "id", _COLLIDES) for line in (tweets[ordinal] for ordinal in collisions)]
    rejected_rows.keep(
        connection, origin, [*((key(row.line, row.unit, row.item), row.field, row.reason) for row in refused), *collided], job
    )
    return Counts(
        read=len(batch),
        inserted=inserted,
        duplicates=len(tweets) - inserted - len(collisions),
        collisions=len(collisions),
        rejected=len(refused),
        same_text=same_text,
        notices=Counter(line.notice for line in batch if line.notice is not None),
        unusable=Counter(name for line in batch for name in line.unusable),
        reasons=Reasons((place(row.line, row.unit, row.item), row.field, row.reason) for row in refused),
    )


def _insert_tweets(connection: Connection, tweets: Sequence[Tweet]) -> tuple[int, int, Sequence[int]]:
    """Store what is new: how many are, how many of them say what another one says, and which have a known id and another text."""
    connection.execute(text(_INCOMING))
    rows = (
        (ordinal, each.id, each.source, each.text, each.author, each.lang, each.created_at, each.conversation, sha256(each.text))
        for ordinal, each in enumerate(tweets)
    )
    copy_rows(connection, "COPY incoming FROM STDIN", rows)
    stored = connection.execute(text(_INSERT_TWEETS)).one()
    if stored.inserted == len(tweets):
        return stored.inserted, stored.same_text, ()
    return stored.inserted, stored.same_text, connection.execute(text(_COLLISIONS)).scalars().all()


_INCOMING_CURATED = (
    "CREATE TEMPORARY TABLE incoming_curated (position int, key text, text text, clean text, summary text, field text, reason text) "
    "ON COMMIT DROP"
)
_INSERT_CURATED = """
INSERT INTO curated (collection, position, key, text, clean, summary)
SELECT :collection, position, key, text, clean, summary FROM incoming_curated WHERE reason IS NULL
ON CONFLICT (collection, position) DO NOTHING
"""
_INSERT_REFUSED = """
INSERT INTO rejected_row (origin, row_key, field, reason)
SELECT :origin, key, field, reason FROM incoming_curated WHERE reason IS NOT NULL ORDER BY position
ON CONFLICT DO NOTHING
"""


def bring_in_collection(path: Path | str, kind: Kind, on_done: Callable[[Counts], None] | None = None) -> str:
    """Copy a file of pairs, references or sentences into Postgres, so that any worker can read it; return the collection's name.

    The same content is the same collection, brought in once. Lines that can't be used are kept in `rejected_row`.

    Args:
        path: the file.
        kind: what its lines are.
        on_done: hears how many lines were read, new, known already and rejected.

    Raises:
        NotFound: there is no such file.
        UserError: not one line can be used; the first reason is named.
    """
    path = Path(path)
    return _bring_in(path, curated_files.collection_name(path), curated_files.read(path, kind), kind, on_done)


def bring_in_imports(
    path: Path | str,
    form: Form,
    columns: Columns,
    on_done: Callable[[Counts], None] | None = None,
    encoding: str | None = None,
    *,
    strip_instruction: bool = False,
) -> str:
    """The same for pairs from elsewhere, in a form of the field; a file read in another way is another collection.

    Marks of older formats that every row bears are taken off; with `strip_instruction` so is what every prompt begins with.
    """
    path = Path(path)
    collection = pair_files.collection(path, form, columns, encoding, strip_instruction=strip_instruction)
    strip = partial(shared_ends.strip, strip_instruction=strip_instruction)
    return _bring_in(path, collection, pair_files.read(path, form, columns, encoding), f"rows of {form}", on_done, strip)


def _bring_in(
    path: Path,
    collection: str,
    rows: Iterable[CuratedLine | BadLine],
    what: str,
    on_done: Callable[[Counts], None] | None,
    strip: Callable[[Connection], list[str]] | None = None,
) -> str:
    unit, thoughts = "line", 0
    reasons = Reasons()

    def told() -> Iterator[tuple[Any, ...]]:
        nonlocal unit, thoughts
        for row in rows:
            if isinstance(row, BadLine):
                unit = row.unit
                reasons.note(place(row.number, row.unit, row.item), row.field, row.reason)
                yield row.number, row.place, None, None, None, row.field, row.reason
            else:
                thoughts += row.thoughts
                yield row.number, row.key, row.text, row.clean, row.summary, None, None

    with transaction() as connection:
        connection.execute(text(_INCOMING_CURATED))
        copy_rows(connection, "COPY incoming_curated FROM STDIN", told())
        remarks = strip(connection) if strip else []
        read, refused = connection.execute(text("SELECT count(*), count(reason) FROM incoming_curated")).one()
        inserted = connection.execute(text(_INSERT_CURATED), {"collection": collection}).rowcount
        connection.execute(text(_INSERT_REFUSED), {"origin": str(path)})
    if read == refused:
        raise UserError(_nothing_usable(path, what, f"{refused:,} {unit}s" if refused else None, reasons))
    if thoughts:
        remarks.append(f"A model's thoughts were taken off {thoughts:,} {'answer' if thoughts == 1 else 'answers'}.")
    if on_done is not None:
        told_counts = Counts(read=read, inserted=inserted, duplicates=read - refused - inserted, rejected=refused, reasons=reasons)
        on_done(replace(told_counts, remarks=tuple(remarks)))
    return collection


def _nothing_usable(path: Path, what: str, refused: str | None, reasons: Reasons) -> str:
    if refused is None:
        return f"{path}: the file is empty, it holds no {what}"
    return f"{path}: none of {refused} can be used as {what}. {reasons.commonest()}"
