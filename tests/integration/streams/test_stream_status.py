"""How a stream stands is told by few rows however many it has, and a stream does not end where it can't be told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text

from producers.streaming.loop import Plan, StreamLoop
from producers.streaming.progress import shown
from tasks import streams
from tests.support.streams import ECHO, Scripted, add_model, begin, rows, shards, tweet
from workers.database import session, transaction
from workers.settings import get_settings
from workers.streams import arrivals, micro_batches, queries
from workers.streams.holding import Held
from workers.streams.micro_batches import Limits

LIMITS = Limits(batch=3, max_tokens=1_000, max_age=0.0, in_flight=2)
OLD_SHARDS = """
WITH old AS (SELECT gen_random_uuid() AS id, number FROM generate_series(1, 60000) AS number),
made AS (INSERT INTO job (id, kind, queue, idempotency_key, state, finished_at)
         SELECT id, 'summarization.summarize_shard', 'summarization', id::text, 'done', now() - interval '5 minutes' FROM old)
INSERT INTO stream_shard (job, stream, first, last, model, tweets, tokens) SELECT id, 'club', number, number, 1, 1, 1 FROM old
"""


@pytest.fixture
def engine(clean_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setenv("TWEETMILL_ENGINE", ECHO["TWEETMILL_ENGINE"])
    get_settings.cache_clear()
    add_model(clean_database)
    yield clean_database
    get_settings.cache_clear()


def arrive(held: Held, *names: str) -> None:
    with transaction() as connection:
        arrivals.store(connection, held, [tweet(name) for name in names])


def test_a_status_reads_few_shards_and_jobs_of_a_stream_that_has_many(engine: Engine):
    begin()
    with engine.begin() as connection:
        connection.exec_driver_sql(OLD_SHARDS)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE stream_shard, job")
    read = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables WHERE relname IN ('stream_shard', 'job')"
    with session() as opened:
        queries.status(opened, "club")
        assert opened.connection().execute(text(read)).scalar_one() < 20_000


def test_the_row_of_a_model_goes_with_its_shards(engine: Engine):
    held = begin()
    arrive(held, "a")
    streams.make_shard(held, LIMITS, guard=True)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM model")
    assert shards(engine) == []


def test_the_stream_goes_on_where_its_status_takes_too_long(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TWEETMILL_STATEMENT_TIMEOUT", "1")
    get_settings.cache_clear()
    plan = Plan(LIMITS, spool=100, guard=True)
    with engine.begin() as other, shown("club", as_json=True) as show:
        other.exec_driver_sql("LOCK TABLE summary IN ACCESS EXCLUSIVE MODE")
        source = Scripted([tweet("a"), tweet("b")])
        assert StreamLoop(source, begin(), plan, stopping=lambda: False, show=show, on_event=lambda _: None).run() == "ended"
    assert shards(engine) == [(1, 2, 2)]


def test_rates_of_a_stream_that_was_started_again_count_since_then(engine: Engine):
    held = begin()
    arrive(held, *"abcdef")
    streams.end(held, "stopped")
    held = begin()
    arrive(held, "g")
    with session() as opened:
        assert 0 < queries.status(opened, "club").arrivals_per_second <= 1


def test_shards_of_an_earlier_start_count_to_those_in_flight(engine: Engine):
    held = begin()
    arrive(held, "a")
    streams.make_shard(held, LIMITS, guard=True)
    streams.end(held, "stopped")
    again = begin()
    arrive(again, "b")
    streams.make_shard(again, LIMITS, guard=True)
    with transaction() as connection:
        assert micro_batches.waiting(connection, again, LIMITS).unfinished == 2
    assert rows(engine, "SELECT count(DISTINCT parent) FROM job WHERE parent IS NOT NULL") == [(2,)]
