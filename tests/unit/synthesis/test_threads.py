"""Tweets of one thread belong together: one conversation, or one author within minutes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workers.synthesis.split.threads import Ingested, links
from workers.text.near_duplicates import clusters

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def tweet(name: str, *, author: str | None = None, minute: float | None = None, thread: str | None = None) -> Ingested:
    return Ingested(name, f"text {name}", author, None if minute is None else NOON + timedelta(minutes=minute), thread)


def together(*tweets: Ingested, minutes: float = 60) -> list[int]:
    return clusters([each.text for each in tweets], linked=links(tweets, minutes))


def test_one_authors_tweets_within_minutes_are_a_thread_however_long_it_grows() -> None:
    thread = [tweet(f"t{n}", author="ann", minute=50.0 * n) for n in range(5)]
    assert together(*thread[::-1]) == [0] * 5


def test_tweets_further_apart_and_of_others_are_not() -> None:
    assert together(tweet("a", author="ann", minute=0), tweet("b", author="ann", minute=61), tweet("c", author="bo", minute=1)) == [0, 1, 2]


def test_an_hour_sharp_is_within_an_hour_and_0_minutes_are_never() -> None:
    sharp = tweet("a", author="ann", minute=0), tweet("b", author="ann", minute=60)
    assert together(*sharp) == [0, 0]
    assert together(tweet("a", author="ann", minute=0), tweet("b", author="ann", minute=0), minutes=0) == [0, 1]


def test_who_has_no_author_or_no_time_is_nobodys() -> None:
    assert together(tweet("a", minute=0), tweet("b", minute=0), tweet("c", author="ann"), tweet("d", author="ann")) == [0, 1, 2, 3]


def test_answers_join_their_conversation_and_its_first_tweet_whoever_wrote_them() -> None:
    first, answer, other = tweet("1", author="ann", thread="1"), tweet("2", author="bo", thread="1"), tweet("3", thread="9")
    assert together(answer, other, first, minutes=0) == [0, 1, 0]


def test_a_circle_of_answers_is_one_conversation() -> None:
    assert together(tweet("1", thread="2"), tweet("2", thread="1"), minutes=0) == [0, 0]
