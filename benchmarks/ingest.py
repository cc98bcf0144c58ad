"""COPY into a temporary table and from there into the real one, against an ORM's `add_all`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import text
from sqlmodel import Session

from benchmarks.measure import Comparison, Way, compare
from benchmarks.servers import empty
from producers.sources.lines import Line
from schemas.records import TweetRecord
from schemas.tables import tweets as tables
from workers.database import get_engine, transaction
from workers.files import sha256
from workers.ingest.tweets import copy_tweets

ROWS, QUICK_ROWS = 10_000, 200


def run(*, quick: bool) -> Comparison:
    """Store 10,000 new tweets in an empty table."""
    tweets = list(_tweets(QUICK_ROWS if quick else ROWS))
    return compare(
        Way("ingest by COPY", lambda: _by_copy(tweets), prepare=_empty_table),
        [Way("SQLModel's add_all", lambda: _by_orm(tweets), prepare=_empty_table)],
        unit="tweets",
    )


def _tweets(count: int) -> Iterator[TweetRecord]:
    for number in range(count):
        yield TweetRecord(
            id=str(10**18 + number), text=f"@someone tweet {number} about the late bus, the rain and 3 cats " * 2, source="bench"
        )


def _empty_table() -> None:
    empty("tweet")


def _stored() -> int:
    with transaction() as connection:
        return int(connection.execute(text("SELECT count(*) FROM tweet")).scalar_one())


def _by_copy(tweets: Iterable[TweetRecord]) -> int:
    copy_tweets((Line(number, tweet) for number, tweet in enumerate(tweets, start=1)), origin="bench")
    return _stored()


def _by_orm(tweets: Iterable[TweetRecord]) -> int:
    with Session(get_engine()) as session:
        session.add_all(tables.Tweet(**tweet.model_dump(), text_hash=sha256(tweet.text)) for tweet in tweets)
        session.commit()
    return _stored()
