"""Reads the tweets that noise is fitted to: a sample of the ingested ones, without those that curated pairs were written from."""

from __future__ import annotations

from sqlalchemy import Connection, text

# Rates settle long before: a sample keeps a corpus of millions cheap.
SAMPLE_SIZE = 50_000
# Fewer tweets without a pair than this, and the pairs' own are read too: counts of 50 tweets say little.
FEWEST_APART = 500

# Raw: a sample by hash, without the texts of some tweets.
_TWEETS = """
SELECT tweet.text FROM tweet
WHERE (cast(:source AS text) IS NULL OR tweet.source = :source)
  AND (cast(:apart AS text[]) IS NULL OR tweet.text_hash NOT IN (SELECT text_hash FROM tweet WHERE id = ANY(:apart)))
ORDER BY md5(:seed || tweet.id) LIMIT :limit
"""


def tweets(connection: Connection, *, source: str | None, apart: list[str] | None, seed: int) -> list[str]:
    """Return the texts of at most `SAMPLE_SIZE` tweets, drawn by the seed.

    Args:
        connection: an open one.
        source: only tweets of this source.
        apart: ids of tweets that are left out, with every other of the same text.
        seed: decides which, and their order.
    """
    values = {"source": source, "apart": apart, "seed": str(seed), "limit": SAMPLE_SIZE}
    return [str(tweet) for tweet in connection.execute(text(_TWEETS), values).scalars()]


def beside(connection: Connection, pairs: list[str], *, source: str | None, seed: int) -> list[str]:
    """Return the texts of tweets other than those of `pairs`, so that no style is learnt from the test; of all where too few are left."""
    left = tweets(connection, source=source, apart=pairs, seed=seed) if pairs else []
    return left if len(left) >= FEWEST_APART else tweets(connection, source=source, apart=None, seed=seed)
