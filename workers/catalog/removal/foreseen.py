"""Counts what forgetting would remove, by reading alone: nothing waits for it, and it waits for nobody.

What `workers.catalog.removal.forgetting` deletes is counted here table by table; a test holds the two together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

from sqlalchemy import Connection, text

from workers.catalog.removal import taken_back
from workers.catalog.removal.forgetting import Forgotten

_AT_ONCE = 5_000

# Ids that were named, with those of the same tweets from dumps without ids: once each, however they were named. The table is this
# session's own.
_MAKE = "CREATE TEMPORARY TABLE going (id text PRIMARY KEY) ON COMMIT DROP"
_NAME = "INSERT INTO going SELECT DISTINCT id FROM unnest(cast(:ids AS text[])) AS id ON CONFLICT DO NOTHING"
_NAME_AUTHORS = "INSERT INTO going SELECT id FROM tweet WHERE author = ANY(cast(:authors AS text[])) ON CONFLICT DO NOTHING"
_ADD_COPIES = """
INSERT INTO going
SELECT copy.id FROM going JOIN tweet AS named ON named.id = going.id
JOIN tweet AS copy ON copy.id = 'sha256-' || left(named.text_hash, 32) AND (copy.author IS NULL OR copy.author = named.author)
ON CONFLICT DO NOTHING
"""
_ANALYZE = "ANALYZE going"
_COUNTS = """
WITH gone AS MATERIALIZED (SELECT tweet.id, tweet.text, tweet.text_hash FROM going JOIN tweet ON tweet.id = going.id),
hashes AS (SELECT DISTINCT text_hash FROM gone)
SELECT (SELECT count(*) FROM gone) AS tweets,
       (SELECT count(*) FROM gone JOIN summary ON summary.tweet = gone.id) AS summaries,
       (SELECT count(*) FROM gone JOIN selection ON selection.tweet = gone.id) AS selections,
       (SELECT count(*) FROM gone JOIN teaching ON teaching.tweet = gone.id) AS teachings,
       (SELECT count(*) FROM gone JOIN dropped ON dropped.tweet = gone.id)
       + (SELECT count(DISTINCT (dropped.job, dropped.key)) FROM gone
          JOIN dropped ON dropped.tweet IS NULL AND md5(dropped.prompt_text) = md5(gone.text) AND dropped.prompt_text = gone.text)
       AS dropped,
       (SELECT count(*) FROM going JOIN curated ON curated.key = going.id AND curated.text IS NULL)
       + (SELECT count(DISTINCT (curated.collection, curated.position)) FROM gone
          JOIN curated ON curated.text IS NOT NULL AND md5(curated.text) = md5(gone.text) AND curated.text = gone.text) AS curated,
       (SELECT count(*) FROM hashes JOIN tweet ON tweet.text_hash = hashes.text_hash) - (SELECT count(*) FROM gone) AS copies
"""
_EXAMPLES = """
WITH gone AS MATERIALIZED (SELECT tweet.id, tweet.text FROM going JOIN tweet ON tweet.id = going.id),
lost AS (
  SELECT example.dataset, example.key FROM gone JOIN example ON example.tweet = gone.id
  UNION
  SELECT example.dataset, example.key FROM gone
  JOIN example ON example.tweet IS NULL AND md5(example.prompt_text) = md5(gone.text) AND example.prompt_text = gone.text)
SELECT lost.dataset, count(*) AS examples, count(review.key) AS reviews
FROM lost LEFT JOIN review ON review.dataset = lost.dataset AND review.key = lost.key GROUP BY lost.dataset
"""


def would_forget(connection: Connection, tweets: Iterable[str] = (), authors: Iterable[str] = ()) -> Forgotten:
    """Return what `forgetting.forget` would remove, and what had learnt from it. Nothing is changed or locked.

    Args:
        connection: in a transaction, in which this is asked once.
        tweets: ids.
        authors: whose tweets would all be removed.
    """
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
