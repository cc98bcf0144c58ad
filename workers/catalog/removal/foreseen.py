"""Counts what forgetting would remove, by reading alone: nothing waits for it, and it waits for nobody.

What `workers.catalog.removal.forgetting` deletes is counted here table by table; a test holds the two together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection, text

from workers.catalog.removal import taken_back
from workers.catalog.removal.forgetting import BY_INDEX, Forgotten

_AT_ONCE = 5_000

# Ids that were named, with those of the same tweets from dumps without ids: once each, however they were named. The table is this
# session's own.
_MAKE = "CREATE TEMPORARY TABLE going (id text PRIMARY KEY) ON COMMIT DROP"
_NAME = "INSERT INTO going SELECT DISTINCT id FROM unnest(cast(:ids AS text[])) AS id ON CONFLICT DO NOTHING"
_NAME_AUTHORS = "INSERT INTO going SELECT id FROM tweet WHERE author = ANY(cast(:authors AS text[])) ON CONFLICT DO NOTHING"
_ADD_COPIES = """
INSERT INTO going
SELECT copy.id FROM going JOIN tweet AS named ON named.id = going.id CROSS JOIN LATERAL (
    SELECT id FROM tweet
    WHERE id = 'sha256-' || left(named.text_hash, 32) AND (author IS NULL OR author = named.author) LIMIT 1) AS copy
ON CONFLICT DO NOTHING
"""
_ANALYZE = "ANALYZE going"
_AS_LONG_AS_IT_TAKES = "SET LOCAL statement_timeout = 0"
_NAMED = """
SELECT going.id, named.text, named.text_hash
FROM going CROSS JOIN LATERAL (SELECT text, text_hash FROM tweet WHERE tweet.id = going.id OFFSET 0) AS named
"""
# What belongs to a tweet is looked up tweet by tweet, whatever the planner believes of the tables' sizes: minutes after many rows came,
# its statistics may be of the few before, and a join by them compares every row with every other.
_COUNTS = f"""
WITH gone AS MATERIALIZED ({_NAMED}),
hashes AS (SELECT DISTINCT text_hash FROM gone)
SELECT (SELECT count(*) FROM gone) AS tweets,
       (SELECT coalesce(sum((SELECT count(*) FROM summary WHERE tweet = gone.id)), 0)::int FROM gone) AS summaries,
       (SELECT coalesce(sum((SELECT count(*) FROM selection WHERE tweet = gone.id)), 0)::int FROM gone) AS selections,
       (SELECT coalesce(sum((SELECT count(*) FROM teaching WHERE tweet = gone.id)), 0)::int FROM gone) AS teachings,
       (SELECT coalesce(sum((SELECT count(*) FROM dropped WHERE tweet = gone.id)), 0)::int FROM gone)
       + (SELECT count(DISTINCT (lost.job, lost.key)) FROM gone CROSS JOIN LATERAL (
            SELECT job, key FROM dropped
            WHERE tweet IS NULL AND md5(prompt_text) = md5(gone.text) AND prompt_text = gone.text OFFSET 0) AS lost) AS dropped,
       (SELECT coalesce(sum((SELECT count(*) FROM curated WHERE key = going.id AND text IS NULL)), 0)::int FROM going)
       + (SELECT count(DISTINCT (lost.collection, lost.position)) FROM gone CROSS JOIN LATERAL (
            SELECT collection, position FROM curated
            WHERE text IS NOT NULL AND md5(text) = md5(gone.text) AND text = gone.text OFFSET 0) AS lost) AS curated,
       (SELECT coalesce(sum((SELECT count(*) FROM tweet WHERE tweet.text_hash = hashes.text_hash)), 0)::int FROM hashes)
       - (SELECT count(*) FROM gone) AS copies
"""  # noqa: S608
_EXAMPLES = f"""
WITH gone AS MATERIALIZED ({_NAMED}),
lost AS (
  SELECT mine.dataset, mine.key FROM gone
  CROSS JOIN LATERAL (SELECT dataset, key FROM example WHERE tweet = gone.id OFFSET 0) AS mine
  UNION
  SELECT mine.dataset, mine.key FROM gone CROSS JOIN LATERAL (
    SELECT dataset, key FROM example
    WHERE tweet IS NULL AND md5(prompt_text) = md5(gone.text) AND prompt_text = gone.text OFFSET 0) AS mine)
SELECT dataset, count(*) AS examples,
       coalesce(sum((SELECT count(*) FROM review WHERE review.dataset = lost.dataset AND review.key = lost.key)), 0)::int AS reviews
FROM lost GROUP BY dataset
"""  # noqa: S608


def would_forget(connection: Connection, tweets: Iterable[str] = (), authors: Iterable[str] = ()) -> Forgotten:
    """Return what `forgetting.forget` would remove, and what had learnt from it. Nothing is changed or locked.

    Args:
        connection: in a transaction, in which this is asked once.
        tweets: ids.
        authors: whose tweets would all be removed.
    """
    connection.execute(text(_AS_LONG_AS_IT_TAKES))
    connection.execute(text(BY_INDEX))
    connection.execute(text(_MAKE))
    for part in _parts(tweets):
        connection.execute(text(_NAME), {"ids": part})
    for part in _parts(authors):
        connection.execute(text(_NAME_AUTHORS), {"authors": part})
    connection.execute(text(_ADD_COPIES))
    connection.execute(text(_ANALYZE))
    counted = connection.execute(text(_COUNTS)).one()._mapping
    lost: Counter[int] = Counter()
    reviews = 0
    for row in connection.execute(text(_EXAMPLES)):
        lost[row.dataset] += row.examples
        reviews += row.reviews
    return Forgotten(**counted, examples=lost.total(), reviews=reviews, losses=taken_back.losses(connection, lost))


def _parts(names: Iterable[str]) -> Iterator[list[str]]:
    stream = iter(names)
    while part := list(islice(stream, _AT_ONCE)):
        yield part
