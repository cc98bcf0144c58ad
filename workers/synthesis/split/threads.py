"""Links tweets that belong together though they share no words: one author's thread, and the answers of one conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise


@dataclass(frozen=True)
class Ingested:
    """A tweet as the split must know it.

    Attributes:
        id: its id.
        text: as it came.
        author: None where the source names none.
        created_at: None where the source does not tell.
        thread: id of the first tweet of its conversation, as far as the ingested tweets lead there; its own where nothing is known.
    """

    id: str
    text: str
    author: str | None = None
    created_at: datetime | None = None
    thread: str | None = None


def links(tweets: Sequence[Ingested], minutes: float) -> Iterator[tuple[int, int]]:
    """Yield positions of tweets that belong together.

    Args:
        tweets: in any order.
        minutes: tweets of one author no further apart than this are one thread; 0: never. Conversations are joined in any case.
    """
    first: dict[str, int] = {}
    for place, tweet in enumerate(tweets):
        yield first.setdefault(tweet.id, place), place
        yield first.setdefault(tweet.thread or tweet.id, place), place
    if minutes > 0:
        yield from _by_author(tweets, timedelta(minutes=minutes))


def _by_author(tweets: Sequence[Ingested], apart: timedelta) -> Iterator[tuple[int, int]]:
    dated = [(tweet.author, tweet.created_at, place) for place, tweet in enumerate(tweets) if tweet.author and tweet.created_at]
    dated.sort()
    for (author, earlier, one), (other_author, later, other) in pairwise(dated):
        if author == other_author and later - earlier <= apart:
            yield one, other
