"""Forgets tweets: removes them with all that was made of them, and keeps digests by which they are known should they come again.

Every statement is about thousands of rows, and memory does not grow with them. What trained models remember stays in their weights:
`workers.catalog.removal.taken_back` counts what each of them may have learnt.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from sqlalchemy import Connection, text

from workers import clock
from workers.catalog.removal import taken_back
from workers.catalog.removal.taken_back import Loss
from workers.database import transaction

_AT_ONCE = 5_000

# Minutes after many rows came, the planner's statistics may be of the few before: by those, reading a whole table for each row that is
# looked up is cheapest. Every look-up here has its index.
BY_INDEX = "SET LOCAL enable_seqscan = off"
_AS_BEFORE = "SET LOCAL enable_seqscan TO DEFAULT"
# Whoever inserts what belongs to one of these tweets holds a lock on it or waits for ours: nothing appears between two statements. They
# are locked in the order of their ids, so that two forgetting the same ones wait for each other instead of dying of a deadlock.
_LOCK = """
WITH wanted AS (
    SELECT unnest(cast(:ids AS text[])) AS id
    UNION
    -- The same tweet of a dump without ids has one that is made from its text.
    SELECT copy.id FROM tweet AS named CROSS JOIN LATERAL (
        SELECT id FROM tweet
        WHERE id = 'sha256-' || left(named.text_hash, 32) AND (author IS NULL OR author = named.author) LIMIT 1) AS copy
    WHERE named.id = ANY(cast(:ids AS text[])))
SELECT id FROM tweet WHERE id = ANY(ARRAY(SELECT id FROM wanted)) ORDER BY id FOR UPDATE
"""
_AUTHORS = "SELECT DISTINCT author FROM tweet WHERE author = ANY(cast(:authors AS text[]))"
_OF_AUTHORS = "SELECT id FROM tweet WHERE author = ANY(cast(:authors AS text[])) ORDER BY id LIMIT :most"
# The first three go with their tweets, by the cascades of the tables. Copies are looked up hash by hash, however large the table is.
_COUNT = """
SELECT (SELECT count(*) FROM summary WHERE tweet = ANY(cast(:ids AS text[]))) AS summaries,
       (SELECT count(*) FROM selection WHERE tweet = ANY(cast(:ids AS text[]))) AS selections,
       (SELECT count(*) FROM teaching WHERE tweet = ANY(cast(:ids AS text[]))) AS teachings,
       (SELECT coalesce(sum((SELECT count(*) FROM tweet WHERE tweet.text_hash = named.text_hash)), 0)
        FROM (SELECT DISTINCT text_hash FROM tweet WHERE id = ANY(cast(:ids AS text[]))) AS named)::int
       - cardinality(cast(:ids AS text[])) AS copies
"""
_BY_TWEET = "WHERE {table}.tweet = ANY(cast(:ids AS text[]))"
# Of pairs that came without an id. The hash is what the index is of.
_BY_TEXT = """
USING tweet WHERE tweet.id = ANY(cast(:ids AS text[])) AND {table}.tweet IS NULL
AND md5({table}.prompt_text) = md5(tweet.text) AND {table}.prompt_text = tweet.text
"""
_EXAMPLES = """
WITH gone AS (DELETE FROM example {matching} RETURNING example.dataset, example.key, example.stage, example.split),
judged AS (DELETE FROM review USING gone WHERE review.dataset = gone.dataset AND review.key = gone.key RETURNING review.key),
counted AS (SELECT dataset, stage, split, count(*) AS examples FROM gone GROUP BY dataset, stage, split),
marked AS (
    INSERT INTO taken_back (dataset, stage, split, examples) SELECT * FROM counted ORDER BY dataset, stage, split
    ON CONFLICT (dataset, stage, split) DO UPDATE SET examples = taken_back.examples + excluded.examples, taken_at = now())
SELECT dataset, sum(examples) AS examples, (SELECT count(*) FROM judged) AS reviews FROM counted GROUP BY dataset
"""
_DROPPED = "DELETE FROM dropped {matching}"
_STATEMENTS = {
    (table, by): statement.format(matching=matching.format(table=table))
    for table, statement in (("example", _EXAMPLES), ("dropped", _DROPPED))
    for by, matching in (("tweet", _BY_TWEET), ("text", _BY_TEXT))
}
_PAIRS = "DELETE FROM curated WHERE key = ANY(cast(:ids AS text[])) AND text IS NULL"
_REFERENCES = """
DELETE FROM curated USING tweet WHERE tweet.id = ANY(cast(:ids AS text[])) AND curated.text IS NOT NULL
AND md5(curated.text) = md5(tweet.text) AND curated.text = tweet.text
"""
_TWEETS = "DELETE FROM tweet WHERE id = ANY(cast(:ids AS text[]))"
# What a person forgot, or the author of a single tweet, stays forgotten though the account that wrote it comes back.
_FOR_GOOD = "DO UPDATE SET account = NULL WHERE forgotten.account IS NOT NULL AND excluded.account IS NULL"
_REMEMBER = f"""
INSERT INTO forgotten (kind, digest, account)
SELECT DISTINCT cast(:kind AS text), sha256(convert_to(id, 'UTF8')), sha256(convert_to(cast(:account AS text), 'UTF8'))
FROM unnest(cast(:ids AS text[])) AS id ORDER BY 2
ON CONFLICT (kind, digest) {_FOR_GOOD}
"""  # noqa: S608
_REMEMBER_TEXTS = f"""
INSERT INTO forgotten (kind, digest, tweet, account)
SELECT DISTINCT ON (text_hash) 'text', decode(text_hash, 'hex'), sha256(convert_to(id, 'UTF8')),
       sha256(convert_to(cast(:account AS text), 'UTF8'))
FROM tweet WHERE id = ANY(cast(:ids AS text[])) ORDER BY text_hash, id
ON CONFLICT (kind, digest) {_FOR_GOOD}
"""  # noqa: S608
_REINSTATE = """
DELETE FROM forgotten WHERE account = ANY(ARRAY(SELECT sha256(convert_to(id, 'UTF8')) FROM unnest(cast(:accounts AS text[])) AS id))
"""
_ALLOW = """
WITH allowed AS (SELECT sha256(convert_to(id, 'UTF8')) AS digest FROM unnest(cast(:ids AS text[])) AS id),
texts AS (DELETE FROM forgotten USING allowed WHERE cast(:kind AS text) = 'tweet' AND kind = 'text' AND forgotten.tweet = allowed.digest)
DELETE FROM forgotten USING allowed WHERE forgotten.kind = :kind AND forgotten.digest = allowed.digest
"""

# A batch of an ingest that began before these digests were there did not look for them.
_NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
_HAVE_ENDED = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= :began"
_LONGEST_INGEST = 10.0  # seconds
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Forgotten:
    """What was removed, in rows, and what can't be.

    Attributes:
        tweets: removed; a tweet that came a second time without an id counts too.
        summaries: of them.
        selections: places in the selections of summarization jobs.
        examples: of datasets, noised copies among them.
        reviews: verdicts on these examples.
        dropped: examples that filters had kept out.
        teachings: answers of teachers.
        curated: rows of people's files that were about them.
        copies: other tweets that say the same to the letter. They stay.
        losses: the datasets that lost examples, and the models that had learnt from those.
    """

    tweets: int = 0
    summaries: int = 0
    selections: int = 0
    examples: int = 0
    reviews: int = 0
    dropped: int = 0
    teachings: int = 0
    curated: int = 0
    copies: int = 0
    losses: tuple[Loss, ...] = ()

    def __add__(self, other: Forgotten) -> Forgotten:
        """Add up both; what a dataset lost twice is one loss."""
        added = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self) if each.name != "losses"}
        return Forgotten(**added, losses=taken_back.merged((*self.losses, *other.losses)))


def forget(
    connection: Connection, tweets: Iterable[str] = (), authors: Iterable[str] = (), *, unseen: bool = False, until_back: bool = False
) -> Forgotten:
    """Remove tweets with all that was made of them, in the caller's transaction; what was not there is no error.

    Shards and trainings that run go on: a shard stores no summary of a tweet that is gone, and a training is counted as one that may
    have learnt from it.

    Args:
        connection: in a transaction. Its locks on the tweets last until its end.
        tweets: ids.
        authors: whose tweets are all removed.
        unseen: keep out later what is not there now, as a person wants who names it. A network deletes more than was ever read of it.
        until_back: the authors' tweets may come in again once their accounts are back, which `reinstate` is told.

    Returns:
        What was removed, and what had learnt from it.
    """
    done = Forgotten()
    lost: Counter[int] = Counter()
    for part in _parts(tweets):
        if unseen:
            _remember(connection, "tweet", part)
        done += _forget(connection, part, lost)
    for some in _parts(authors):
        seen = connection.execute(text(_AUTHORS), {"authors": some}).scalars().all()
        if until_back:
            for account in seen:
                _remember(connection, "author", [account], account)
                for ids in _of_authors(connection, [account]):
                    done += _forget(connection, ids, lost, account)
            continue
        _remember(connection, "author", some if unseen else seen)
        for ids in _of_authors(connection, seen):
            done += _forget(connection, ids, lost)
    return replace(done, losses=taken_back.losses(connection, lost))


def reinstate(connection: Connection, accounts: Iterable[str]) -> int:
    """Let the tweets of accounts come in again which had been gone and are back; return how many names, ids and texts were known of them.

    What a person forgot stays away, and so does what an author took back tweet by tweet.
    """
    return sum(connection.execute(text(_REINSTATE), {"accounts": part}).rowcount for part in _parts(accounts))


def _forget(connection: Connection, named: Sequence[str], lost: Counter[int], account: str | None = None) -> Forgotten:
    connection.execute(text(BY_INDEX))
    done = _forget_by_index(connection, named, lost, account)
    connection.execute(text(_AS_BEFORE))
    return done


def _forget_by_index(connection: Connection, named: Sequence[str], lost: Counter[int], account: str | None) -> Forgotten:
    ids = connection.execute(text(_LOCK), {"ids": list(named)}).scalars().all()
    pairs = connection.execute(text(_PAIRS), {"ids": list({*named, *ids})}).rowcount
    if not ids:
        return Forgotten(curated=pairs)
    values = {"ids": list(ids)}
    counted = connection.execute(text(_COUNT), values).one()._mapping
    done = Counter({"curated": pairs + connection.execute(text(_REFERENCES), values).rowcount})
    for by in ("tweet", "text"):
        rows = connection.execute(text(_STATEMENTS["example", by]), values).all()
        done["examples"] += _lose(rows, lost)
        done["reviews"] += rows[0].reviews if rows else 0  # of all datasets, in each row
        done["dropped"] += connection.execute(text(_STATEMENTS["dropped", by]), values).rowcount
    _remember(connection, "tweet", ids, account)
    connection.execute(text(_REMEMBER_TEXTS), values | {"account": account})
    done["tweets"] = connection.execute(text(_TWEETS), values).rowcount
    return replace(Forgotten(**counted), **done)  # type: ignore[arg-type]  # none of the counts is named losses


def remove_examples(connection: Connection, tweets: Sequence[str], lost: Counter[int]) -> int:
    """Remove the examples that were made of some tweets, and count them as taken back, in `lost` by dataset; return how many."""
    return _lose(connection.execute(text(_STATEMENTS["example", "tweet"]), {"ids": list(tweets)}).all(), lost)


def _lose(rows: Sequence[Any], lost: Counter[int]) -> int:
    for row in rows:
        lost[row.dataset] += int(row.examples)
    return sum(int(row.examples) for row in rows)


def _of_authors(connection: Connection, authors: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield their tweets, part by part; each part must be removed before the next one is asked for."""
    values = {"authors": list(authors), "most": _AT_ONCE}
    while authors and (part := connection.execute(text(_OF_AUTHORS), values).scalars().all()):
        yield part


def _remember(connection: Connection, kind: str, ids: Sequence[str], account: str | None = None) -> None:
    connection.execute(text(_REMEMBER), {"kind": kind, "ids": list(ids), "account": account})


def forget_all(tweets: Iterable[str], authors: Iterable[str] = (), on_progress: Callable[[int], None] | None = None) -> Forgotten:
    """Forget tweets by a person's wish, thousands a transaction, and again what an ingest stored meanwhile that had begun before.

    Args:
        tweets: ids; iterated twice.
        authors: whose tweets are all removed; iterated twice.
        on_progress: called with the number of ids, and of the authors' tweets, so far.
    """
    done = _in_parts(tweets, authors, on_progress)
    with transaction() as connection:
        began: int = connection.execute(text(_NEXT_TRANSACTION)).scalar_one()
    until = clock.now() + _LONGEST_INGEST
    while clock.now() < until:
        with transaction() as connection:
            if connection.execute(text(_HAVE_ENDED), {"began": began}).scalar_one():
                break
        time.sleep(_LOOK_SECONDS)
    return done + _in_parts(tweets, authors)


def _in_parts(tweets: Iterable[str], authors: Iterable[str], on_progress: Callable[[int], None] | None = None) -> Forgotten:
    done, number = Forgotten(), 0
    for part in _parts(tweets):
        with transaction() as connection:
            done += forget(connection, part, unseen=True)
        number += len(part)
        if on_progress is not None:
            on_progress(number)
    for some in _parts(authors):
        with transaction() as connection:
            _remember(connection, "author", some)
        while True:  # an author may have written a million
            with transaction() as connection:
                theirs = connection.execute(text(_OF_AUTHORS), {"authors": some, "most": _AT_ONCE}).scalars().all()
                lost: Counter[int] = Counter()
                done += _forget(connection, theirs, lost) + Forgotten(losses=taken_back.losses(connection, lost))
            if not theirs:
                break
            number += len(theirs)
            if on_progress is not None:
                on_progress(number)
    return done


def allow_again(connection: Connection, tweets: Iterable[str] = (), authors: Iterable[str] = ()) -> int:
    """Let tweets, and those of authors, come in again that were forgotten; return how many names were known as forgotten."""
    allowed = 0
    for kind, names in (("tweet", tweets), ("author", authors)):
        for part in _parts(names):
            allowed += connection.execute(text(_ALLOW), {"kind": kind, "ids": part}).rowcount
    return allowed


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(names)
    while part := list(islice(stream, _AT_ONCE)):
        yield part
