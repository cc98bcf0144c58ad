"""Honours what a live source says of tweets that were taken back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from sqlmodel import col, select

from schemas.tables.tweets import Tweet
from workers.catalog.forgetting import allow_again, forget
from workers.ingest.live import Event


def apply(connection: Connection, events: Sequence[Event]) -> list[Event]:
    """Remove the tweets that events take back, with all that was made of them, in the caller's transaction.

    Args:
        connection: in a transaction.
        events: in the order in which they came.

    Returns:
        The events whose tweets are to be stored: those that no later event takes back.
    """
    taken_back = [(at, event.deleted) for at, event in enumerate(events) if event.deleted is not None]
    tweets = {deleted.tweet: at for at, deleted in taken_back if deleted.tweet is not None}
    authors = {deleted.author: at for at, deleted in taken_back if deleted.tweet is None and deleted.author is not None}
    resent = {deleted.author for _, deleted in taken_back if deleted.tweet is None and deleted.resent} - {None}
    kept: list[Event] = []
    seen: set[str] = set()
    for at, event in enumerate(events):
        if event.tweet is None:
            continue
        if at < max(tweets.get(event.tweet.id, -1), authors.get(event.tweet.author, -1) if event.tweet.author else -1):
            seen.add(event.tweet.id)
        else:
            kept.append(event)
    if taken_back:
        _forget(connection, sorted(tweets), sorted(authors), sorted(each for each in resent if each), sorted(seen & tweets.keys()))
    return kept


def _forget(connection: Connection, tweets: Sequence[str], authors: Sequence[str], resent: Sequence[str], seen: Sequence[str]) -> None:
    again = connection.execute(select(Tweet.id).where(col(Tweet.author).in_(resent))).scalars().all() if resent else ()
    forget(connection, tweets=tweets, authors=authors)
    # They came and went before they were stored, and are remembered like those that were.
    forget(connection, tweets=seen, unseen=True)
    if resent:
        allow_again(connection, tweets=[each for each in again if each not in set(tweets)], authors=resent)
