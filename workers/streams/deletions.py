"""Honours what a live source says of tweets that were taken back."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from workers.catalog.removal.forgetting import forget, reinstate
from workers.ingest.live import Event

# Nothing says that these were taken back: what was learnt from them or answered about them stays, and so do they. The others come again,
# in so far as they still are. Locked in the order of their ids, as whoever forgets does.
_RESENT = """
DELETE FROM tweet WHERE id = ANY(ARRAY(SELECT id FROM tweet AS held
    WHERE author = ANY(cast(:authors AS text[]))
        AND NOT EXISTS (SELECT FROM example WHERE example.tweet = held.id)
        AND NOT EXISTS (SELECT FROM dropped WHERE dropped.tweet = held.id)
        AND NOT EXISTS (SELECT FROM teaching WHERE teaching.tweet = held.id)
    ORDER BY id FOR UPDATE))
"""


def apply(connection: Connection, events: Sequence[Event]) -> list[Event]:
    """Remove the tweets that events take back, with all that was made of them, and let those of accounts in again that are back.

    Args:
        connection: in a transaction.
        events: in the order in which they came.

    Returns:
        The events whose tweets are to be stored: those that no later event takes back.
    """
    taken_back = [(at, event.deleted) for at, event in enumerate(events) if event.deleted is not None]
    back = {event.reinstated: at for at, event in enumerate(events) if event.reinstated is not None}
    # An account that was gone and is back before anything of it was stored was never gone.
    taken_back = [(at, deleted) for at, deleted in taken_back if deleted.tweet or deleted.resent or at > back.get(deleted.author or "", -1)]
    tweets = {deleted.tweet: at for at, deleted in taken_back if deleted.tweet is not None}
    authors = {deleted.author: at for at, deleted in taken_back if deleted.tweet is None and deleted.author is not None}
    gone = sorted({deleted.author for _, deleted in taken_back if deleted.tweet is None and deleted.author and not deleted.resent})
    kept: list[Event] = []
    seen: set[str] = set()
    for at, event in enumerate(events):
        if event.tweet is None:
            continue
        if at < max(tweets.get(event.tweet.id, -1), authors.get(event.tweet.author, -1) if event.tweet.author else -1):
            seen.add(event.tweet.id)
        else:
            kept.append(event)
    reinstate(connection, sorted(back))
    if taken_back:
        forget(connection, tweets=sorted(tweets), authors=gone, until_back=True)
        # They came and went before they were stored, and are remembered like those that were.
        forget(connection, tweets=sorted(seen & tweets.keys()), unseen=True)
    if resent := sorted(authors.keys() - set(gone)):
        connection.execute(text(_RESENT), {"authors": resent})
    return kept
