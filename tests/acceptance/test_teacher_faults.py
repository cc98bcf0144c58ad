"""A real worker asks a real server that is busy, broken, slow and talks nonsense, and is killed on the way: no tweet is lost."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.synthesis import SynthesisSpec
from tasks.synthesis import enqueue
from tests.support import jobs
from tests.support.openai_server import Answer, Request, Server, completion, serving, taught, tweet
from tests.support.worker_process import WorkerProcess, wait_for

TWEETS = 60
WORDS = ("tram", "bus", "ferry", "train", "plane")


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    """The tables, with tweets that are not alike."""
    rows = [
        {"id": f"t{n}", "text": f"omg the {WORDS[n % 5]} to {chr(65 + n % 26)}{'aeiou'[n // 26]}bury was {n + 2} minutes late"}
        for n in range(TWEETS)
    ]
    with clean_database.begin() as connection:
        connection.execute(text("INSERT INTO tweet (id, source, text, text_hash) VALUES (:id, 'test', :text, md5(:text))"), rows)
    return clean_database


@pytest.fixture
def start(start_worker: Callable[..., WorkerProcess]) -> Callable[[str], WorkerProcess]:
    return lambda name: start_worker(name, "synthesis")


def ask(server: Server, **teacher: Any) -> uuid.UUID:
    """Queue a dataset of the teacher's answers alone."""
    source = {"model": "teacher", "base_url": server.url, "candidates": 1, "timeout": 2.0, "examples": 0, **teacher}
    spec = SynthesisSpec.model_validate({"dataset": "taught", "teacher": source, "test_size": 0, "near_duplicate": 1.0})
    return enqueue(spec, tweets=TWEETS).job


def stored(engine: Engine) -> dict[str, str]:
    """The tweets that are answered, with their prompts."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT tweet.id, tweet.text FROM teaching JOIN tweet ON tweet.id = teaching.tweet")).all()
    return {row.id: f"<tweet>{row.text}</tweet>" for row in rows}


def tweets_of(engine: Engine, table: str) -> set[str]:
    with engine.connect() as connection:
        return set(connection.execute(text(f"SELECT tweet FROM {table} WHERE origin = 'teacher'")).scalars())  # noqa: S608


def test_a_server_with_every_fault_loses_no_tweet(engine, start, measured):
    faults = {
        3: Answer(429, headers={"retry-after": "0.5"}),
        8: Answer(500, body="boom"),
        14: Answer(wait=3.0),
        20: Answer(body="<html>"),
        27: Answer(503),
        34: Answer(body='{"choices": []}'),
    }

    def script(n: int, request: Request) -> Answer:
        if tweet(request).endswith(" 9 minutes late"):
            return Answer(400, body="no")
        if tweet(request).endswith(" 11 minutes late"):
            return Answer(body=completion(['{"summary": "wrong schema"}']))
        return faults.get(n, Answer(body=taught(request, tweet(request).removeprefix("omg ").capitalize() + ".")))

    with serving(script) as server:
        worker = start("worker")
        job = ask(server)
        assert wait_for(lambda: jobs.state(engine, job) in ("done", "failed", "quarantined"), 90), worker.log
    row = jobs.row(engine, job)
    assert row.state == "done", row.error
    assert (row.attempt, row.failures) == (1, 0)
    examples, dropped = tweets_of(engine, "example"), tweets_of(engine, "dropped")
    assert dropped == {"t7", "t9"}
    assert len(examples | dropped) == TWEETS
    assert row.result["teacher"]["accepted"] == TWEETS - 2
    measured(lost=TWEETS - len(examples | dropped), requests=len(server.requests))


def test_a_killed_worker_s_answers_are_not_asked_for_again(engine, start, measured):
    with serving(
        lambda _, request: Answer(body=taught(request, tweet(request).removeprefix("omg ").capitalize() + "."), wait=0.25)
    ) as server:
        job = ask(server, concurrency=3)
        worker = start("first")
        assert wait_for(lambda: len(stored(engine)) >= TWEETS // 3), worker.log
        worker.kill_all()
        kept = stored(engine)
        before = dict(server.prompts)
        assert len(kept) < TWEETS
        again = start("second")
        assert wait_for(lambda: jobs.state(engine, job) == "done", 60), again.log
        twice = {prompt for prompt, times in server.prompts.items() if times > 1}
    assert not twice & set(kept.values()), "an answer that was stored was asked for again"
    under_way = set(before) - set(kept.values())
    assert twice <= under_way, "something else than what was under way at the kill was asked twice"
    assert len(twice) <= 3
    assert len(tweets_of(engine, "example")) == TWEETS
    told = jobs.row(engine, job).result["teacher"]
    assert told["asked"] == TWEETS
    measured(stored_at_kill=len(kept), asked_twice=len(twice), lost=TWEETS - len(tweets_of(engine, "example")))
