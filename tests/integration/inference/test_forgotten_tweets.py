"""A shard that runs while one of its tweets is forgotten or gets a later text: it stores no summary of it, and does not fail."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from schemas.chat import Prompt
from schemas.payloads import SummarizationSpec
from schemas.records import TweetRecord
from tasks import summarization
from tests.integration.in_process import work_off
from tests.support import jobs
from tests.support.everywhere import SAYS, SUMMARY, TWEET, add_job, add_tweet, insert
from workers.catalog.removal.forgetting import forget
from workers.database import transaction
from workers.inference.engine import Generation, Sampling
from workers.ingest.live import Event
from workers.ingest.summary_rows import SummaryRow, insert_summaries
from workers.streams import arrivals, holding
from workers.streams.holding import NewStream


class Forgetful:
    """An engine that forgets a tweet while it writes, as a stream's deletion would."""

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, adapter: Path | None = None, on_progress: Callable[[int], None] | None = None
    ) -> list[Generation]:
        with transaction() as connection:
            forget(connection, [TWEET])
        return [Generation((f"{SUMMARY}",), tokens_in=1, tokens_out=1) for _ in prompts]


@pytest.fixture
def model(clean_database: Engine) -> int:
    """A model, the tweet, and another."""
    with clean_database.begin() as connection:
        add_tweet(connection, TWEET, SAYS)
        add_tweet(connection, "other", "The ferry to Bergen is late again and I am cold.")
        return int(insert(connection, "model", name="m", base="b", method="none", stage="summary"))


def test_a_shard_that_had_read_it_stores_no_summary_of_it_and_is_done(
    clean_database: Engine, model: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.inference.writer.engine_for", lambda *_, **__: Forgetful())
    job = summarization.enqueue(SummarizationSpec(model_id=model, guard=False)).job
    work_off(clean_database)
    with clean_database.connect() as connection:
        assert list(connection.execute(text("SELECT tweet FROM summary")).scalars()) == ["other"]
        assert list(connection.execute(text("SELECT tweet FROM selection")).scalars()) == ["other"]
    assert jobs.row(clean_database, job).state == "done"


def storing(engine: Engine, model: int, job: uuid.UUID) -> Future[object]:
    """Begin to store the summaries of both tweets beside a transaction that is open on one of them, for which it waits."""
    pool = ThreadPoolExecutor(1)
    stored = pool.submit(_store, engine, model, job)
    pool.shutdown(wait=False)
    with pytest.raises(TimeoutError):
        stored.result(0.5)
    return stored


def summarised(engine: Engine) -> list[str]:
    """The tweets that have a summary."""
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT tweet FROM summary")).scalars())


def test_what_is_stored_while_it_is_being_forgotten_is_all_but_its_own(clean_database: Engine, model: int) -> None:
    """The statement sees the tweet, and its foreign key does not: without a second try the flush would fail."""
    with clean_database.begin() as connection:
        job = add_job(connection)
    with clean_database.begin() as forgetting:
        forget(forgetting, [TWEET])
        stored = storing(clean_database, model, job)
    assert stored.result(30) == 1
    assert summarised(clean_database) == ["other"]


def test_what_is_stored_while_its_tweet_gets_a_later_text_is_all_but_its_own(clean_database: Engine, model: int) -> None:
    """The statement sees the earlier text, and waits at its foreign key until the later one is there."""
    with clean_database.begin() as connection:
        job = add_job(connection)
        stream = holding.take(connection, NewStream("club", "scripted", "m", {}))
    later = Event("1", tweet=TweetRecord(id=TWEET, text="The ferry is on time after all.", source="club"), revised=True)
    with clean_database.begin() as revising:
        arrivals.store(revising, stream, [later])
        stored = storing(clean_database, model, job)
    assert stored.result(30) == 1
    assert summarised(clean_database) == ["other"]


class Revising(Forgetful):
    """An engine that hears of a later text while it writes of the earlier one."""

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, adapter: Path | None = None, on_progress: Callable[[int], None] | None = None
    ) -> list[Generation]:
        with transaction() as connection:
            stream = holding.take(connection, NewStream("club", "scripted", "m", {}))
            later = TweetRecord(id=TWEET, text="The ferry is on time after all.", source="club")
            arrivals.store(connection, stream, [Event("1", tweet=later, revised=True)])
            holding.leave(connection, stream, "stopped")
        return [Generation((f"{SUMMARY}",), tokens_in=1, tokens_out=1) for _ in prompts]


def test_a_shard_that_had_read_an_earlier_text_stores_no_summary_of_it(
    clean_database: Engine, model: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.inference.writer.engine_for", lambda *_, **__: Revising())
    job = summarization.enqueue(SummarizationSpec(model_id=model, guard=False)).job
    work_off(clean_database)
    assert summarised(clean_database) == ["other"]
    assert jobs.row(clean_database, job).state == "done"


def _store(engine: Engine, model: int, job: uuid.UUID) -> object:
    with engine.connect() as connection:
        hashes = {row.id: row.text_hash for row in connection.execute(text("SELECT id, text_hash FROM tweet"))}
    written = [SummaryRow(tweet, hashes[tweet], "1", "c", "s") for tweet in (TWEET, "other")]
    try:
        with engine.begin() as connection:
            return insert_summaries(connection, written, model=model, worker="w", job=job, attempt=1)
    except Exception as error:
        return error
