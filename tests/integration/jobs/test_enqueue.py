"""Asking for work: the row comes first, the message when Redis answers."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import Queue, SummarizationSpec
from tasks import enqueue, summarization
from tests.conftest import Servers
from tests.support import jobs
from workers.app import app, pending, publish
from workers.broker import redis_client
from workers.jobs import relay, worker_registry


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


@pytest.fixture
def model(engine: Engine) -> int:
    with engine.begin() as connection:
        new = "INSERT INTO model (name, base, method, stage) VALUES ('m', 'b', 'none', 'summary') RETURNING id"
        return connection.execute(text(new)).scalar_one()


def ask(name: str) -> enqueue.Submitted:
    payload = jobs.Work(name=name)
    return enqueue.submit("evaluation.evaluate", Queue.EVALUATION, payload, enqueue.job_key("evaluation.evaluate", payload))


def add_tweets(engine: Engine, count: int, source: str = "test") -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO tweet (id, source, text, text_hash) "
                "SELECT :source || n, :source, 'text ' || n, md5('text ' || n) FROM generate_series(1, :count) AS n"
            ),
            {"source": source, "count": count},
        )


@contextmanager
def redis_away() -> Iterator[None]:
    """Within it, the broker's address is one where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"redis://127.0.0.1:{taken.getsockname()[1]}/0"
        before = {name: app.conf[name] for name in ("broker_url", "broker_read_url", "broker_write_url")}
        _point_to(dict.fromkeys(before, dead))
        try:
            yield
        finally:
            _point_to(before)


def _point_to(urls: dict[str, str]) -> None:
    app.conf.update(urls)
    app.set_current()
    app._pool = None
    app.amqp._producer_pool = None
    from kombu import pools

    pools.reset()


def test_a_submitted_job_is_a_row_and_a_message(engine):
    submitted = ask("1")
    assert submitted.new
    stored = jobs.row(engine, submitted.job)
    assert (stored.state, stored.queue, stored.kind) == ("queued", "evaluation", "evaluation.evaluate")
    assert stored.published_at is not None
    assert pending("evaluation") == 1


def test_the_same_work_asked_twice_is_one_job_and_one_message(engine):
    first = ask("1")
    again = ask("1")
    other = ask("2")
    assert (again.job, again.new) == (first.job, False)
    assert other.new
    assert pending("evaluation") == 2


def test_when_redis_is_down_asking_succeeds_soon_and_the_relay_publishes_later(engine):
    with redis_away():
        asked = time.monotonic()
        submitted = ask("1")
        assert time.monotonic() - asked < 15
        assert submitted.new
        stored = jobs.row(engine, submitted.job)
        assert (stored.state, stored.published_at) == ("queued", None)
    with engine.begin() as connection:
        worker_registry.register(connection, "worker@here", ("evaluation",), 1)
        assert relay.relay(connection, "evaluation", pending, publish) == 1
    assert pending("evaluation") == 1


def test_a_producer_never_piles_up_messages(engine, model):
    add_tweets(engine, 200)
    submitted = summarization.enqueue(SummarizationSpec(model_id=model, shard_size=1))
    assert jobs.row(engine, submitted.job).remaining == 200
    assert pending("summarization") == relay.SHARE
    with engine.connect() as connection:
        marked = connection.execute(text("SELECT count(*) FROM job WHERE published_at IS NOT NULL")).scalar_one()
    assert marked == relay.SHARE


def test_a_row_that_the_relay_took_first_is_not_published_again(engine):
    job = jobs.add(engine, kind="evaluation.evaluate", queue="evaluation")
    jobs.alter(engine, job, "published_at = now()")
    enqueue.publish_now(Queue.EVALUATION)
    assert pending("evaluation") == 0


def test_a_job_that_was_claimed_or_cancelled_meanwhile_is_not_published(engine):
    job = jobs.add(engine, kind="evaluation.evaluate", queue="evaluation")
    jobs.claimed(engine, job)
    enqueue.publish_now(Queue.EVALUATION)
    assert pending("evaluation") == 0


def test_summarization_is_a_parent_and_its_shards_which_cover_every_tweet_once(engine, model):
    add_tweets(engine, 25)
    submitted = summarization.enqueue(SummarizationSpec(model_id=model, shard_size=10))
    with engine.connect() as connection:
        slices = connection.execute(
            text("SELECT (payload->>'first')::int, (payload->>'last')::int FROM job WHERE parent = :job ORDER BY 1"), {"job": submitted.job}
        ).all()
        chosen = connection.execute(text("SELECT count(DISTINCT tweet) FROM selection")).scalar_one()
    assert [tuple(part) for part in slices] == [(0, 10), (10, 20), (20, 25)]
    assert chosen == 25
    parent = jobs.row(engine, submitted.job)
    assert (parent.state, parent.remaining, parent.progress) == ("running", 3, {"total": 25, "shards": 3})


def test_a_summarization_of_nothing_is_done_at_once(engine, model):
    submitted = summarization.enqueue(SummarizationSpec(model_id=model, source="nowhere"))
    assert jobs.state(engine, submitted.job) == "done"
    assert pending("summarization") == 0


def test_the_same_seed_draws_the_same_tweets_and_another_draws_others(engine, model):
    add_tweets(engine, 100)

    def drawn(seed: int) -> set[str]:
        job = summarization.enqueue(SummarizationSpec(model_id=model, limit=10, seed=seed)).job
        with engine.connect() as connection:
            return set(connection.execute(text("SELECT tweet FROM selection WHERE job = :job"), {"job": job}).scalars())

    assert drawn(1) == drawn(1) != drawn(2)
    assert len(drawn(1)) == 10


def test_equal_texts_stand_side_by_side_in_a_selection(engine, model):
    add_tweets(engine, 20, "a")
    add_tweets(engine, 20, "b")
    submitted = summarization.enqueue(SummarizationSpec(model_id=model))
    with engine.connect() as connection:
        texts = list(
            connection.execute(
                text("SELECT text FROM selection JOIN tweet ON tweet.id = tweet WHERE job = :job ORDER BY ordinal"), {"job": submitted.job}
            ).scalars()
        )
    assert texts[::2] == texts[1::2]


def test_the_same_key_asks_for_one_summarization(engine, model):
    add_tweets(engine, 3)
    key = uuid.uuid4().hex
    first = summarization.enqueue(SummarizationSpec(model_id=model), key)
    again = summarization.enqueue(SummarizationSpec(model_id=model), key)
    assert (again.job, again.new) == (first.job, False)
    assert pending("summarization") == 1


def test_no_message_holds_a_tweet(engine, model, servers: Servers):
    add_tweets(engine, 5)
    summarization.enqueue(SummarizationSpec(model_id=model))
    with redis_client(servers.broker_url) as client:
        messages = b"".join(client.lrange("summarization", 0, -1))
    assert messages
    assert b"text " not in messages
