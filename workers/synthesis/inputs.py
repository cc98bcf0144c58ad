"""Reads what a dataset is made of from Postgres; long collections are written to disk as they arrive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, text

from schemas.records import Pair
from schemas.synthesis import NoiseSource, SynthesisSpec, TeacherSource
from workers.errors import NotFound
from workers.noise.fitting import corpus
from workers.synthesis import disk_rows, imported_rows
from workers.synthesis.imported_rows import Imported
from workers.synthesis.plan import Inputs
from workers.synthesis.split.threads import Ingested

_ROWS_AT_ONCE = 2000

# Raw: a server-side cursor over as many rows as a file has.
_CURATED = "SELECT key, text, clean, summary FROM curated WHERE collection = :collection ORDER BY position"
# Raw: recursive, from answer to answer up to the first tweet of the conversation, as far as they are ingested.
_THREADS = """
WITH RECURSIVE up (id, thread, steps) AS (
    SELECT id, coalesce(conversation, id), 0 FROM tweet WHERE id = ANY(:ids)
    UNION ALL
    SELECT up.id, above.conversation, up.steps + 1 FROM up JOIN tweet AS above ON above.id = up.thread
    WHERE above.conversation <> up.thread AND up.steps < 500)
SELECT DISTINCT ON (up.id) up.id, up.thread, tweet.text, tweet.author,
    -- Postgres holds dates that Python can't, as years before 1 and infinity: a tweet with one has none.
    CASE WHEN tweet.created_at BETWEEN '0002-01-01 00:00+00' AND '9998-12-31 00:00+00' THEN tweet.created_at END AS created_at
FROM up JOIN tweet ON tweet.id = up.id ORDER BY up.id, up.steps DESC
"""
# Raw: one tweet a text, sampled.
_UNPAIRED = """
SELECT id FROM (
    SELECT DISTINCT ON (text_hash) id FROM tweet
    WHERE (cast(:source AS text) IS NULL OR source = :source)
      AND text_hash NOT IN (SELECT text_hash FROM tweet WHERE id = ANY(:paired))
    ORDER BY text_hash, id) AS unpaired
ORDER BY md5(:seed || id), id LIMIT :limit
"""


def read(connection: Connection, spec: SynthesisSpec, folder: Path | None = None) -> Inputs:
    """Read what the recipe names.

    Raises:
        NotFound: a collection is not there.
    """
    pairs = list(_pairs(connection, spec.pairs)) if spec.pairs else []
    ids = [pair.tweet_id for pair in pairs]
    sentences, imports = disk_rows.texts_on_disk(folder), imported_rows.imports_on_disk(folder)
    if spec.sentences:
        sentences.extend(row.clean for row in _curated(connection, spec.sentences))
    if spec.imports:
        imports.extend(_imports(connection, spec.imports.file))
    return Inputs(
        pairs=pairs,
        tweets={tweet.id: tweet for tweet in tweets_with_threads(connection, ids)},
        sentences=sentences,
        imports=imports,
        unpaired=_unpaired(connection, spec.teacher, ids) if spec.teacher else (),
    )


def to_imitate(connection: Connection, spec: SynthesisSpec, noise: NoiseSource, paired: list[str]) -> list[str]:
    """Return the tweets that noise is fitted to; `paired` are the ids of those that pairs were written from."""
    if noise.profile == "fixed":
        return corpus.tweets(connection, source=noise.source, apart=None, seed=spec.seed)
    return corpus.beside(connection, paired, source=noise.source, seed=spec.seed)


def paired(connection: Connection, spec: SynthesisSpec) -> list[str]:
    """Return the ids of the tweets that the recipe's pairs were written from."""
    return [str(row.key) for row in _curated(connection, spec.pairs)] if spec.pairs else []


def _pairs(connection: Connection, collection: str) -> Iterator[Pair]:
    rows = list(_curated(connection, collection))
    if not rows:
        raise NotFound(f"collection {collection}: there is none. `tweetmill synthesize` brings a recipe's files in")
    for row in rows:
        yield Pair(tweet_id=row.key, clean=row.clean, summary=row.summary)


def _imports(connection: Connection, collection: str) -> Iterator[Imported]:
    empty = True
    for row in _curated(connection, collection):
        empty = False
        yield Imported(place=row.key, prompt=row.text, completion=row.summary)
    if empty:
        raise NotFound(f"collection {collection}: there is none. `tweetmill import` brings a file in")


def _curated(connection: Connection, collection: str) -> Iterator[Any]:
    # The cursor stays at the server, and rows come by the thousand.
    yield from connection.execute(text(_CURATED).execution_options(yield_per=_ROWS_AT_ONCE), {"collection": collection})


def _unpaired(connection: Connection, teacher: TeacherSource, paired: list[str]) -> Sequence[Ingested]:
    values = {"source": teacher.source, "paired": paired, "seed": str(teacher.seed), "limit": teacher.limit}
    ids = [str(found) for found in connection.execute(text(_UNPAIRED), values).scalars()]
    known = {tweet.id: tweet for tweet in tweets_with_threads(connection, ids)}
    return [known[each] for each in ids]


def tweets_with_threads(connection: Connection, ids: list[str]) -> Iterator[Ingested]:
    """Yield those of these tweets that are ingested, in the order of their ids, each with its thread."""
    for row in connection.execute(text(_THREADS), {"ids": ids}):
        yield Ingested(row.id, row.text, row.author, row.created_at, row.thread)
