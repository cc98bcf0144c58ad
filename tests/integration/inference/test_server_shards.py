"""Shards that a server of the chat API writes: thoughts are no summaries, and an account that is used up stores nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import SummarizationSpec
from schemas.records import TweetRecord
from schemas.states import RETRIABLE
from tasks import summarization
from tests.integration.in_process import work_off
from tests.integration.ingest.test_ingest import Line
from tests.support.openai_server import Answer, Server, always, serving
from workers.inference import engines
from workers.ingest.tweets import copy_tweets
from workers.jobs import fanout
from workers.settings import get_settings

TWEETS = 3
SAID = "The bus was late again and I missed my train to Oslo."


def thinking(answer: str | None) -> Answer:
    content = "<think>\nShort, then." + ("" if answer is None else f"\n</think>\n\n{answer}")
    choice = {"message": {"content": content}, "finish_reason": "length" if answer is None else "stop"}
    return Answer(body=json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}))


@pytest.fixture
def model(clean_database: Engine) -> int:
    """A model that a server serves, and a few tweets."""
    tweets = (TweetRecord(id=str(n), text=f"The bus {n} was late again and I missed my train to Oslo!", source="s") for n in range(TWEETS))
    copy_tweets((Line(n, tweet) for n, tweet in enumerate(tweets)), origin="test")
    with clean_database.begin() as connection:
        statement = "INSERT INTO model (name, base, method, stage) VALUES ('served', 'served', 'none', 'summary') RETURNING id"
        return int(connection.execute(text(statement)).scalar_one())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server that the settings name."""
    with serving(always(thinking(SAID))) as running:
        monkeypatch.setenv("TWEETMILL_ENGINE", "openai")
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        get_settings.cache_clear()
        engines._warm.clear()
        yield running
        engines._warm.clear()
    get_settings.cache_clear()


def rows(engine: Engine, statement: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement)))


@pytest.mark.parametrize("guard", [True, False])
def test_the_summary_is_what_follows_the_thoughts(clean_database: Engine, model: int, server: Server, guard: bool) -> None:
    summarization.enqueue(SummarizationSpec(model_id=model, guard=guard))
    work_off(clean_database)
    stored = rows(clean_database, "SELECT summary, flags FROM summary")
    assert [(row.summary, row.flags) for row in stored] == [(SAID, [])] * TWEETS


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(402, body='{"error": {"message": "Insufficient credits."}}'), 'used up (402): it says "Insufficient credits."'),
        (thinking(None), "thinks for all of the 40 tokens"),
        (Answer(401), "refuses the key (401)"),
    ],
    ids=["account", "thoughts", "key"],
)
def test_what_concerns_all_tweets_fails_the_shard_at_once_and_stores_nothing(
    clean_database: Engine, model: int, server: Server, answer: Answer, told: str
) -> None:
    server.script = always(answer)
    job = summarization.enqueue(SummarizationSpec(model_id=model)).job
    work_off(clean_database)
    (shard,) = rows(clean_database, "SELECT state, error, attempt FROM job WHERE parent IS NOT NULL")
    assert (shard.state, shard.attempt) == ("failed", 1)
    assert told in shard.error["message"]
    assert rows(clean_database, "SELECT 1 FROM summary") == []
    # Once somebody has seen to it, the job goes on.
    server.script = always(thinking(SAID))
    engines._warm.clear()
    with clean_database.begin() as connection:
        fanout.retry(connection, RETRIABLE, job)
    work_off(clean_database)
    assert len(rows(clean_database, "SELECT 1 FROM summary")) == TWEETS
