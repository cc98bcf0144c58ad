"""Shards are made of the oldest tweets of a backlog; each tweet is in one of them, and the parent stays open until the stream ends."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from schemas.states import RETRIABLE, JobState
from tasks import streams
from tests.integration.in_process import work_off
from tests.support import jobs
from tests.support.streams import add_model, begin, echoing, rows, shards, tweet
from workers.database import transaction
from workers.jobs import fanout
from workers.streams import arrivals as store
from workers.streams import micro_batches
from workers.streams.holding import Held, StreamLost
from workers.streams.micro_batches import Limits, StreamCancelled

LIMITS = Limits(batch=3, max_tokens=1_000, max_age=5.0, in_flight=2)


@pytest.fixture
def engine(clean_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    return echoing(clean_database, monkeypatch)


@pytest.fixture
def held(engine: Engine) -> Held:
    return begin()


def arrive(held: Held, *names: str) -> None:
    with transaction() as connection:
        store.store(connection, held, [tweet(name) for name in names])


def make(held: Held, limits: Limits = LIMITS) -> int:
    return streams.make_shard(held, limits, guard=True)


def waits(held: Held, limits: Limits = LIMITS) -> micro_batches.Waiting:
    with transaction() as connection:
        return micro_batches.waiting(connection, held, limits)


def selected(engine: Engine) -> list[tuple[object, ...]]:
    return rows(engine, "SELECT ordinal, tweet FROM selection ORDER BY ordinal")


def test_a_shard_takes_the_oldest_tweets(engine: Engine, held: Held):
    arrive(held, "a", "b", "c", "d")
    assert waits(held).tweets == 3
    assert waits(held).backlog == 4
    assert (make(held), make(held), make(held)) == (3, 1, 0)
    assert shards(engine) == [(1, 3, 3), (4, 4, 1)]
    assert selected(engine) == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert (waits(held).tweets, waits(held).backlog, waits(held).unfinished) == (0, 0, 2)


def test_a_shard_is_of_at_most_so_many_tokens_but_of_one_tweet_at_least(engine: Engine, held: Held):
    with transaction() as connection:
        store.store(connection, held, [tweet("a", "x" * 40), tweet("b", "x" * 40), tweet("c", "x" * 400), tweet("d", "x" * 40)])
    few = Limits(batch=10, max_tokens=25, max_age=5.0, in_flight=9)
    assert [make(held, few) for _ in range(4)] == [2, 1, 1, 0]
    assert rows(engine, "SELECT tokens FROM stream_shard ORDER BY first") == [(20,), (100,), (10,)]


def test_deleted_tweets_leave_no_place_in_a_shard(engine: Engine, held: Held):
    arrive(held, "a", "b", "c", "d")
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tweet WHERE id IN ('b', 'd')")
    assert make(held) == 2
    assert selected(engine) == [(0, "a"), (1, "c")]
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tweet")
    arrive(held, "e")
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tweet")
    assert (waits(held).backlog, make(held), waits(held).backlog) == (0, 0, 0)


def test_the_parent_closes_with_the_last_shard_after_the_end_and_not_before(engine: Engine, held: Held):
    assert held.job is not None
    arrive(held, "a", "b", "c", "d")
    make(held)
    work_off(engine)
    assert jobs.state(engine, held.job) == "running"
    make(held)
    streams.end(held, "stopped")
    assert jobs.state(engine, held.job) == "running"
    work_off(engine)
    assert jobs.state(engine, held.job) == "done"
    assert jobs.row(engine, held.job).progress["total"] == 4
    assert len(rows(engine, "SELECT tweet FROM summary")) == 4


def test_a_parent_without_any_shard_is_done_at_the_end(engine: Engine, held: Held):
    assert held.job is not None
    streams.end(held, "ended")
    assert (jobs.state(engine, held.job), jobs.row(engine, held.job).remaining) == ("done", 0)


def test_a_failed_shard_that_is_retried_leaves_the_parent_open(engine: Engine, held: Held):
    assert held.job is not None
    arrive(held, "a")
    make(held)
    [(shard,)] = rows(engine, "SELECT job FROM stream_shard")
    jobs.finish(engine, jobs.claimed(engine, shard), JobState.FAILED)
    assert (jobs.state(engine, held.job), waits(held).unfinished) == ("running", 0)
    with transaction() as connection:
        assert fanout.retry(connection, RETRIABLE, held.job) == [shard]
    assert (jobs.row(engine, held.job).remaining, waits(held).unfinished) == (2, 1)
    work_off(engine)
    assert jobs.state(engine, held.job) == "running"
    streams.end(held, "stopped")
    assert jobs.state(engine, held.job) == "done"


def test_a_cancelled_stream_takes_no_shard_any_more_and_keeps_what_waits(engine: Engine, held: Held):
    assert held.job is not None
    arrive(held, "a", "b", "c", "d")
    make(held)
    with transaction() as connection:
        assert fanout.cancel(connection, held.job) == 2
    with pytest.raises(StreamCancelled):
        make(held)
    with pytest.raises(StreamCancelled):
        waits(held)
    streams.end(held, "stopped")
    assert jobs.state(engine, held.job) == "cancelled"
    again = begin()
    assert again.job != held.job
    assert (make(again), shards(engine)[-1]) == (1, (4, 4, 1))
    with transaction() as connection:
        fanout.retry(connection, RETRIABLE, held.job)
    work_off(engine)
    assert jobs.state(engine, held.job) == "done", "the retry of a closed stream closes with its shards"


def test_what_slips_in_while_a_stream_is_cancelled_is_cancelled_too(engine: Engine, held: Held):
    assert held.job is not None
    arrive(held, "a")
    make(held)
    jobs.alter(engine, held.job, "state = 'cancelled', progress = progress - 'open'")
    streams.cancel_rest(held)
    assert rows(engine, "SELECT state FROM job WHERE parent IS NOT NULL") == [("cancelled",)]


def test_the_model_is_looked_up_for_each_shard_and_none_mixes_two(engine: Engine):
    held = begin(model="latest")
    arrive(held, "a", "b", "c", "d")
    make(held)
    newer = add_model(engine, "newer")
    make(held)
    work_off(engine)
    assert rows(engine, "SELECT model, count(*) FROM summary GROUP BY model ORDER BY model") == [(newer - 1, 3), (newer, 1)]
    assert rows(engine, "SELECT model FROM stream_shard ORDER BY first") == [(newer - 1,), (newer,)]


def test_a_process_that_lost_its_stream_makes_no_shard(engine: Engine, held: Held):
    arrive(held, "a")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE stream SET owner = 'another'")
    with pytest.raises(StreamLost):
        make(held)
    assert shards(engine) == []
