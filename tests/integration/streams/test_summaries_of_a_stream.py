"""The summaries of a stream's job: of each tweet one, by the model whose shard wrote it."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import Engine

from schemas.payloads import SummarizationSpec
from tasks import streams, summarization
from tests.integration.in_process import work_off
from tests.support.streams import ECHO, add_model, begin, rows, tweet
from workers import database
from workers.catalog import models, service, summaries
from workers.database import transaction
from workers.ingest.live import Event
from workers.settings import get_settings
from workers.streams import arrivals as store
from workers.streams.holding import Held
from workers.streams.micro_batches import Limits


@pytest.fixture
def engine(clean_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv("TWEETMILL_ENGINE", ECHO["TWEETMILL_ENGINE"])
    get_settings.cache_clear()
    for name in ("first", "second", "third"):
        add_model(clean_database, name)
    return clean_database


def promote(name: str) -> None:
    with database.session() as session:
        service.promote(session, models.resolve(session, name), None)


def write(engine: Engine, held: Held, *events: Event) -> None:
    """Let events arrive, and have a shard of them written."""
    with transaction() as connection:
        store.store(connection, held, events)
    assert streams.make_shard(held, Limits(batch=10, max_tokens=10_000, max_age=0.0, in_flight=100), guard=True)
    work_off(engine)


def of_job(job: uuid.UUID, model: int | None = None) -> list[tuple[str, str, str]]:
    with database.session() as session:
        return [(row["tweet"], row["model"], row["text"]) for row in summaries.stream(session, job=job, model=model)]


def test_each_tweet_of_a_stream_is_printed_once_as_the_shard_wrote_it(engine: Engine) -> None:
    promote("first")
    held = begin(model="in-service")
    assert held.job is not None
    write(engine, held, tweet("a", "so late"), tweet("b", "on time"), tweet("c", "early"))
    promote("second")
    write(engine, held, tweet("b", "on time after all", revised=True), tweet("d", "gone"))
    # Somebody asks another model about the same tweets later.
    (third,) = [model for model, name in rows(engine, "SELECT id, name FROM model") if name == "third"]
    summarization.enqueue(SummarizationSpec(model_id=third))
    work_off(engine)
    assert rows(engine, "SELECT count(*) FROM summary") == [(8,)]

    written = [("a", "first", "so late"), ("c", "first", "early"), ("d", "second", "gone"), ("b", "second", "on time after all")]
    assert of_job(held.job) == written
    (first,) = [model for model, name in rows(engine, "SELECT id, name FROM model") if name == "first"]
    assert of_job(held.job, first) == written[:2]
    shards = rows(engine, "SELECT job FROM stream_shard ORDER BY first")
    assert [of_job(job) for (job,) in shards] == [written[:2], written[2:]]
