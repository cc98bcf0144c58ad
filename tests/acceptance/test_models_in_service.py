"""A real worker takes a promoted model at its next shard, and stops a canary that is worse; no shard mixes models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.records import TweetRecord
from schemas.states import JobState
from tests.integration.ingest.test_ingest import Line
from tests.integration.verbs import answer, printed
from tests.support import jobs
from tests.support.openai_server import Answer, Request, serving
from tests.support.shards import Shards
from tests.support.tiny_model import build_tiny_adapter
from tests.support.worker_process import WorkerProcess, wait_for
from workers.ingest.tweets import copy_tweets

StartWorker = Callable[..., WorkerProcess]
ROWS = 64


def add_tweets(count: int) -> None:
    tweets = (TweetRecord(id=f"{n:05}", text=f"omg the bus was late again in street {n}", source="s") for n in range(count))
    copy_tweets((Line(n, tweet) for n, tweet in enumerate(tweets)), origin="test")


def add_model(engine: Engine, name: str, base: str, adapter: Path | None) -> int:
    new = "INSERT INTO model (name, base, method, stage, adapter_uri) VALUES (:name, :base, 'lora', 'summary', :adapter) RETURNING id"
    with engine.begin() as connection:
        return int(connection.execute(text(new), {"name": name, "base": base, "adapter": adapter and str(adapter)}).scalar_one())


def make_and_wait(engine: Engine, shards: Shards, worker: WorkerProcess) -> None:
    """Make the next shard, and wait until the worker has done it."""
    shard = shards.make(publish=True)
    assert wait_for(lambda: jobs.row(engine, shard).finished_at is not None, 120), worker.log[-4000:]
    assert jobs.state(engine, shard) == JobState.DONE, f"{jobs.row(engine, shard).error} {worker.log[-2000:]}"


def by_shard(engine: Engine, shards: Shards) -> list[tuple[int, ...]]:
    """Which models wrote the summaries of each shard."""
    query = text("SELECT DISTINCT job, model FROM summary")
    with engine.connect() as connection:
        found = connection.execute(query).all()
    return [tuple(sorted(row.model for row in found if row.job == shard)) for shard in shards.made]


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


def test_a_worker_takes_the_promoted_model_at_its_next_shard_without_a_restart(
    engine: Engine, base: Path, tmp_path: Path, start_worker: StartWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    add_tweets(10)
    first, second = (
        add_model(engine, name, str(base), build_tiny_adapter(base, tmp_path / "adapters" / name, seed))
        for seed, name in enumerate(("first", "second"))
    )
    printed(capsys, "promote", "first")
    worker = start_worker("tiny", "summarization")
    assert wait_for(worker.is_ready), worker.log
    shards = Shards("news", 2, guard=False)

    make_and_wait(engine, shards, worker)
    waiting = shards.make()  # nobody is told of it yet: it keeps the model that it was given
    printed(capsys, "promote", "second", "--for", "news")
    make_and_wait(engine, shards, worker)
    printed(capsys, "rollback", "--for", "news")
    make_and_wait(engine, shards, worker)
    assert wait_for(lambda: jobs.state(engine, waiting) == JobState.DONE, 60), worker.log[-2000:]

    assert by_shard(engine, shards) == [(first,), (first,), (second,), (first,)]
    assert {jobs.row(engine, shard).owner for shard in shards.made} == {worker.name}
    assert worker.process.poll() is None
    assert worker.log.count(" ready.") == 1
    with engine.connect() as connection:
        written = connection.execute(text("SELECT count(DISTINCT tweet), count(*) FROM summary")).one()
    assert tuple(written) == (8, 8)


def test_a_canary_that_is_full_of_flags_is_stopped_by_the_worker(
    engine: Engine, start_worker: StartWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    def by_model(_: int, request: Request) -> Answer:
        invented = " 98765 times" if request["model"] == "bad" else ""
        choice: dict[str, Any] = {"message": {"content": f"The bus was late{invented}."}, "finish_reason": "stop"}
        return Answer(body=json.dumps({"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}))

    add_tweets(20 * ROWS)
    good, bad = (add_model(engine, name, name, None) for name in ("good", "bad"))
    printed(capsys, "promote", "good")
    printed(capsys, "promote", "bad", "--share", "50")
    with serving(by_model) as server:
        worker = start_worker("served", "summarization", TWEETMILL_ENGINE="openai", OPENAI_BASE_URL=server.url, OPENAI_API_KEY="none")
        assert wait_for(worker.is_ready), worker.log
        shards = Shards("news", ROWS)
        while len(shards.made) < 20 and answer(capsys, "promotions", "--json")[0]["state"] == "canary":
            make_and_wait(engine, shards, worker)
        make_and_wait(engine, shards, worker)
        make_and_wait(engine, shards, worker)

    stopped = answer(capsys, "promotions", "--json")[0]
    assert (stopped["name"], stopped["state"]) == ("bad", "stopped"), worker.log[-2000:]
    assert stopped["reason"].startswith("worse: 100.0% of its summaries")
    wrote = by_shard(engine, shards)
    assert wrote[:4] == [(good,), (bad,), (good,), (bad,)]
    assert wrote[-2:] == [(good,), (good,)], "all shards are the model's in service again"
    assert wrote.count((bad,)) <= 8
    assert "The bus" not in worker.log
