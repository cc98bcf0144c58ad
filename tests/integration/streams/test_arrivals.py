"""What a live source says is stored with its cursor in one transaction, and nothing of it twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from schemas.records import TweetRecord
from tests.integration.ingest.test_ingest import Line
from tests.support.everywhere import AUTHOR, TWEET, plant, where
from tests.support.streams import add_model, arrivals, begin, rows, tweet
from workers.catalog.removal.forgetting import forget_all
from workers.database import transaction
from workers.ingest.live import Deletion, Event, Hole, Unusable
from workers.ingest.tweets import copy_tweets
from workers.streams import arrivals as store
from workers.streams import holding
from workers.streams.arrivals import Stored
from workers.streams.holding import Held, NewStream, StreamLost


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    add_model(clean_database)
    return clean_database


@pytest.fixture
def held(engine: Engine) -> Held:
    return begin()


def stored(held: Held, events: Sequence[Event]) -> Stored:
    with transaction() as connection:
        return store.store(connection, held, events)


def by(author: str, name: str) -> Event:
    return Event(name, tweet=TweetRecord(id=name, text=f"tweet {name}", author=author, source="club"))


def cursor(engine: Engine) -> object:
    return rows(engine, "SELECT cursor FROM stream WHERE name = 'club'")[0][0]


def test_tweets_get_places_in_the_order_of_their_arrival_and_the_cursor_stands_behind_them(engine: Engine, held: Held):
    assert stored(held, [tweet("b"), tweet("a")]).queued == 2
    assert stored(held, [tweet("c")]).queued == 1
    assert arrivals(engine) == [(1, "b"), (2, "a"), (3, "c")]
    assert cursor(engine) == "c"


def test_events_that_are_delivered_again_add_nothing(engine: Engine, held: Held):
    stored(held, [tweet("a"), tweet("b")])
    again = stored(held, [tweet("b"), tweet("a"), tweet("a"), tweet("c")])
    assert again.queued == 1
    assert arrivals(engine) == [(1, "a"), (2, "b"), (3, "c")]
    assert (again.counters["tweets"], again.counters["new"]) == (6, 3)


def test_a_transaction_that_is_rolled_back_leaves_neither_tweets_nor_a_cursor(engine: Engine, held: Held):
    stored(held, [tweet("a")])
    with engine.connect() as connection:
        store.store(connection, held, [tweet("b")])
        connection.rollback()
    assert (arrivals(engine), cursor(engine)) == ([(1, "a")], "a")
    assert rows(engine, "SELECT count(*) FROM tweet") == [(1,)]


def test_a_tweet_that_was_ingested_before_arrives_all_the_same(engine: Engine, held: Held):
    copy_tweets([Line(1, TweetRecord(id="a", text="an ingested tweet", source="file"))], origin="file")
    found = stored(held, [tweet("a", "an ingested tweet")])
    assert (found.queued, found.counters["new"]) == (1, 0)


def test_a_known_id_with_another_text_is_kept_with_its_reason(engine: Engine, held: Held):
    stored(held, [tweet("a", "the first text")])
    assert stored(held, [tweet("a", "another text")]).counters["collisions"] == 1
    assert rows(engine, "SELECT text FROM tweet") == [("the first text",)]
    assert rows(engine, "SELECT origin, row_key, field FROM rejected_row") == [("scripted", "a", "id")]


def test_a_later_version_takes_the_place_of_a_text_that_waits(engine: Engine, held: Held):
    stored(held, [tweet("a", "so late"), tweet("b")])
    found = stored(held, [tweet("a", "so very late", revised=True)])
    assert found.counters["revised"] == 1
    assert rows(engine, "SELECT text FROM tweet WHERE id = 'a'") == [("so very late",)]
    assert arrivals(engine) == [(1, "a"), (2, "b")]
    assert rows(engine, "SELECT count(*) FROM rejected_row") == [(0,)]


def test_a_later_version_of_what_has_a_summary_waits_for_a_new_one(engine: Engine, held: Held):
    stored(held, [tweet("a", "so late"), tweet("b")])
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stream SET sharded = 2")
        connection.exec_driver_sql(
            "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, attempt) SELECT id, 1, 'v', text, text, 1 FROM tweet"
        )
    stored(held, [tweet("a", "so very late", revised=True), tweet("b", revised=True)])
    assert rows(engine, "SELECT tweet FROM summary") == [("b",)]  # whose text is the same
    assert arrivals(engine) == [(2, "b"), (3, "a")]


def test_each_stream_that_has_a_tweet_waits_for_a_summary_of_its_later_text(engine: Engine, held: Held):
    with transaction() as connection:
        other = holding.take(connection, NewStream("other", "elsewhere", "echoed", {}))
    stored(held, [tweet("a", "so late"), tweet("b")])
    stored(other, [tweet("c"), tweet("a", "so late")])
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stream SET sharded = 2")
    stored(held, [tweet("a", "so very late", revised=True)])
    assert arrivals(engine, "other") == [(1, "c"), (3, "a")]
    assert rows(engine, "SELECT arrived FROM stream ORDER BY name") == [(3,), (3,)]
    stored(other, [tweet("a", "so very late", revised=True), tweet("d")])
    assert arrivals(engine, "other") == [(1, "c"), (3, "a"), (4, "d")], "it heard of the later text too"


def test_a_later_version_of_an_unknown_tweet_is_a_tweet(engine: Engine, held: Held):
    assert stored(held, [tweet("a", revised=True)]).queued == 1
    assert arrivals(engine) == [(1, "a")]


def test_what_is_no_tweet_is_kept_or_counted(engine: Engine, held: Held):
    events = [
        Event("1", rejected=Unusable("7", "text", "the text is missing")),
        Event("2", deleted=Deletion(tweet="x")),
        Event("3", notice="another language"),
        Event("4", notice="another language"),
        Event("5", hole=Hole(None, None, "what was written there is missed")),
        Event("6"),
    ]
    found = stored(held, events).counters
    assert {name: found[name] for name in ("events", "rejected", "deletions", "holes")} == {
        "events": 6,
        "rejected": 1,
        "deletions": 1,
        "holes": 1,
    }
    assert found["notices"] == {"another language": 2}
    assert rows(engine, "SELECT origin, row_key, field, reason FROM rejected_row") == [("scripted", "7", "text", "the text is missing")]
    assert rows(engine, "SELECT event, detail FROM job_event WHERE event = 'hole'") == [("hole", "what was written there is missed")]
    assert cursor(engine) == "6"


def test_a_moment_in_the_future_is_none(engine: Engine, held: Held):
    past = datetime(2026, 1, 2, tzinfo=UTC)
    stored(held, [tweet("a", moment=past), tweet("b", moment=datetime.now(UTC) + timedelta(days=3)), tweet("c")])
    found = dict(rows(engine, "SELECT tweet, said_at FROM arrival"))
    assert found["a"] == past
    assert (found["b"], found["c"]) == (None, None)


def test_tokens_are_estimated_by_the_bytes_of_a_text(engine: Engine, held: Held):
    stored(held, [tweet("a", "x" * 41), tweet("b", "ü" * 4)])
    assert rows(engine, "SELECT tweet, tokens FROM arrival ORDER BY ordinal") == [("a", 11), ("b", 2)]


def test_a_process_that_lost_its_stream_writes_nothing(engine: Engine, held: Held):
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stream SET lease_until = now()")
    begin()
    with pytest.raises(StreamLost):
        stored(held, [tweet("a")])
    assert rows(engine, "SELECT count(*) FROM tweet") == [(0,)]


def test_two_streams_may_have_the_same_tweet(engine: Engine, held: Held):
    other = begin("other")
    stored(held, [tweet("a")])
    assert stored(other, [tweet("a")]).queued == 1
    assert (arrivals(engine), arrivals(engine, "other")) == ([(1, "a")], [(1, "a")])


def test_what_a_source_takes_back_is_removed_with_its_summary_and_stays_away(engine: Engine, held: Held):
    stored(held, [tweet("a"), tweet("b")])
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, attempt) SELECT id, 1, 'v', text, text, 1 FROM tweet"
        )
    found = stored(held, [Event("c", deleted=Deletion(tweet="a"))]).counters
    assert found["deletions"] == 1
    assert found["tweets"] > 0  # what came before is counted still
    assert rows(engine, "SELECT tweet FROM summary") == [("b",)]
    assert arrivals(engine) == [(2, "b")]
    assert stored(held, [tweet("a", cursor="d")]).counters["forgotten"] == 1
    assert rows(engine, "SELECT id FROM tweet") == [("b",)]


def test_a_tweet_that_is_taken_back_in_the_same_breath_is_never_stored(engine: Engine, held: Held):
    found = stored(held, [tweet("a"), tweet("b"), Event("c", deleted=Deletion(tweet="a"))])
    assert found.queued == 1
    assert arrivals(engine) == [(1, "b")]
    assert stored(held, [tweet("a", cursor="d")]).counters["forgotten"] == 1


def test_a_tweet_that_comes_behind_the_deletion_of_an_unknown_one_is_taken(engine: Engine, held: Held):
    stored(held, [Event("1", deleted=Deletion(tweet="a")), tweet("a", cursor="2")])
    assert arrivals(engine) == [(1, "a")]


def test_an_account_that_is_gone_takes_its_tweets_and_no_others(engine: Engine, held: Held):
    stored(held, [by("ann", "a"), by("ben", "b")])
    stored(held, [by("ann", "c"), Event("d", deleted=Deletion(author="ann")), by("ben", "e")])
    assert rows(engine, "SELECT id FROM tweet ORDER BY id") == [("b",), ("e",)]
    assert stored(held, [by("ann", "f")]).counters["forgotten"] == 1


def back(author: str, cursor: str) -> Event:
    return Event(cursor, reinstated=author, notice="account active")


def test_what_an_account_wrote_comes_in_again_once_it_is_back(engine: Engine, held: Held):
    stored(held, [by("ann", "a"), by("ben", "b")])
    stored(held, [Event("c", deleted=Deletion(author="ann")), Event("d", deleted=Deletion(author="ben"))])
    assert stored(held, [by("ann", "e")]).counters["forgotten"] == 1
    stored(held, [back("ann", "f"), by("ann", "a"), by("ann", "g"), by("ben", "h")])
    assert rows(engine, "SELECT id FROM tweet ORDER BY id") == [("a",), ("g",)]
    assert rows(engine, "SELECT kind, count(*) FROM forgotten GROUP BY kind ORDER BY kind") == [("author", 1), ("text", 1), ("tweet", 1)]


def test_an_account_that_is_gone_and_back_in_one_breath_loses_nothing(engine: Engine, held: Held):
    stored(held, [by("ann", "a")])
    stored(held, [by("ann", "b"), Event("c", deleted=Deletion(author="ann")), back("ann", "d")])
    assert rows(engine, "SELECT id FROM tweet ORDER BY id") == [("a",), ("b",)]
    stored(held, [back("ann", "e"), by("ann", "f"), Event("g", deleted=Deletion(author="ann"))])
    assert rows(engine, "SELECT id FROM tweet") == []
    assert stored(held, [by("ann", "h")]).counters["forgotten"] == 1


def test_an_account_that_is_back_lets_nothing_in_that_a_person_forgot_or_its_author_took_back(engine: Engine, held: Held):
    stored(held, [by("ann", "a"), by("ann", "b"), by("ann", "c"), Event("d", deleted=Deletion(tweet="a", author="ann"))])
    stored(held, [Event("e", deleted=Deletion(author="ann"))])
    forget_all(["b"])
    stored(held, [back("ann", "f"), by("ann", "a"), by("ann", "b"), by("ann", "c")])
    assert rows(engine, "SELECT id FROM tweet") == [("c",)]
    stored(held, [Event("g", deleted=Deletion(author="ann"))])
    forget_all([], ["ann"])
    stored(held, [back("ann", "h"), by("ann", "i")])
    assert rows(engine, "SELECT id FROM tweet") == []


def test_what_an_author_still_has_comes_again_behind_a_resend(engine: Engine, held: Held):
    stored(held, [by("ann", "a"), by("ann", "b")])
    stored(held, [Event("c", deleted=Deletion(author="ann", resent=True)), by("ann", "a"), by("ann", "d")])
    assert rows(engine, "SELECT id FROM tweet ORDER BY id") == [("a",), ("d",)]
    assert [id_ for _, id_ in arrivals(engine)] == ["a", "d"]


def test_a_resend_takes_nothing_back_of_which_there_are_pairs_examples_and_reviews(engine: Engine, held: Held):
    with engine.begin() as connection:
        plant(connection)
        there = where(connection)
    stored(held, [by(AUTHOR, "a")])
    stored(held, [Event("c", deleted=Deletion(author=AUTHOR, resent=True))])
    with engine.begin() as connection:
        assert where(connection) == there
    assert rows(engine, "SELECT count(*) FROM taken_back") == [(0,)]
    assert rows(engine, "SELECT id FROM tweet") == [(TWEET,)]
    assert stored(held, [by(AUTHOR, "a")]).queued == 1


def test_a_resend_lets_nothing_in_that_a_person_forgot(engine: Engine, held: Held):
    forget_all([], ["ann"])
    stored(held, [Event("c", deleted=Deletion(author="ann", resent=True)), by("ann", "a")])
    assert rows(engine, "SELECT id FROM tweet") == []


def test_a_deleted_tweet_leaves_the_backlog(engine: Engine, held: Held):
    stored(held, [tweet("a"), tweet("b")])
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tweet WHERE id = 'a'")
    assert arrivals(engine) == [(2, "b")]
