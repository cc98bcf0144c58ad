"""Workers come and go while they summarise: every summary is written once, and nothing that is written is done again."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import SummarizationSpec
from schemas.states import JobState
from tasks.summarization import enqueue
from tests.support import jobs
from tests.support.worker_process import WorkerProcess, wait_for
from workers.jobs import fanout

pytestmark = pytest.mark.spread

TWEETS = 512
WORDS = ["bus", "train", "sister", "Oslo", "library", "Monday", "swimming", "medals", "city", "hope", "late", "open"]


@pytest.fixture
def engine(clean_database: Engine) -> Engine:
    return clean_database


@pytest.fixture
def whole(engine: Engine, base: Path) -> uuid.UUID:
    """A job to summarise all tweets, in two shards."""
    chance = random.Random(0)
    texts = [f"{' '.join(chance.choices(WORDS, k=chance.randint(4, 16)))} {number}" for number in range(TWEETS)]
    rows = [{"id": f"t{number}", "text": body} for number, body in enumerate(texts)]
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tweet (id, source, text, text_hash) VALUES (:id, 'test', :text, md5(:text))"), rows)
        new = "INSERT INTO model (name, base, method, stage) VALUES ('tiny', :base, 'none', 'summary') RETURNING id"
        model = connection.execute(text(new), {"base": str(base)}).scalar_one()
    return enqueue(SummarizationSpec(model_id=model, shard_size=TWEETS // 2, guard=False)).job


@pytest.fixture
def start(start_worker: Callable[..., WorkerProcess]) -> Callable[[str], WorkerProcess]:
    return lambda name: start_worker(name, "summarization")


def summaries(engine: Engine) -> dict[str, tuple[Any, ...]]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT tweet, job, attempt, worker, created_at, xmin::text FROM summary")).all()
    return {row.tweet: tuple(row)[1:] for row in rows}


def shards(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT * FROM job WHERE parent IS NOT NULL ORDER BY payload->'first'")).all())


def is_under_way(engine: Engine) -> bool:
    with engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM summary")).scalar_one() > 0


@pytest.mark.fault(1)
def test_a_worker_killed_in_the_middle_of_a_shard_costs_no_summary_and_doubles_none(engine, whole, start, measured):
    doomed = start("doomed")
    assert wait_for(lambda: is_under_way(engine)), doomed.log
    doomed.kill_all()
    written = summaries(engine)
    assert 0 < len(written) < TWEETS // 2, "it was killed in the middle of the first shard"

    heir = start("heir")
    assert wait_for(lambda: jobs.state(engine, whole) == "done", 120), heir.log

    after = summaries(engine)
    assert set(after) == {f"t{number}" for number in range(TWEETS)}
    assert {tweet: after[tweet] for tweet in written} == written, "a finished row was done again"
    assert {row[2] for tweet, row in after.items() if tweet not in written} == {"heir@test"}
    assert sorted((shard.attempt, shard.failures) for shard in shards(engine)) == [(1, 0), (2, 1)]
    measured(summaries=len(after), lost=TWEETS - len(after), kept_from_before_the_kill=len(written))


def test_a_worker_asked_to_leave_gives_its_shard_back_and_the_job_is_not_blamed(engine, whole, start):
    leaving = start("leaving")
    assert wait_for(lambda: is_under_way(engine)), leaving.log
    leaving.signal(signal.SIGTERM)
    asked = time.monotonic()
    assert leaving.exit_code(seconds=20) == 0, leaving.log
    took = time.monotonic() - asked
    written = summaries(engine)
    given = [shard for shard in shards(engine) if shard.attempt]
    assert [(shard.state, shard.failures, shard.preemptions) for shard in given] == [("queued", 0, 1)], leaving.log
    assert 0 < len(written) < TWEETS // 2
    assert took < 15

    heir = start("heir")
    assert wait_for(lambda: jobs.state(engine, whole) == "done", 120), heir.log
    after = summaries(engine)
    assert len(after) == TWEETS
    assert {tweet: after[tweet] for tweet in written} == written
    assert {shard.failures for shard in shards(engine)} == {0}


@pytest.mark.fault(35)
def test_a_cancelled_job_stops_where_it_is_and_can_be_taken_up_again(engine, whole, start, measured):
    worker = start("worker")
    assert wait_for(lambda: is_under_way(engine)), worker.log
    with engine.begin() as connection:
        assert fanout.cancel(connection, whole) == 3
    asked = time.monotonic()
    assert wait_for(lambda: {shard.state for shard in shards(engine)} == {"cancelled"}, 15), worker.log
    stopped = round(time.monotonic() - asked, 2)
    written = summaries(engine)
    assert 0 < len(written) < TWEETS
    starts = [shard.attempt for shard in shards(engine)]
    time.sleep(1)
    assert summaries(engine) == written, "it went on"
    measured(stopped_seconds=stopped, later_starts=sum(shard.attempt for shard in shards(engine)) - sum(starts))
    assert [shard.attempt for shard in shards(engine)] == starts, "it began again"
    assert jobs.row(engine, whole).remaining == 0

    with engine.begin() as connection:
        fanout.retry(connection, [JobState.CANCELLED], whole)
    assert wait_for(lambda: jobs.state(engine, whole) == "done", 120), worker.log
    after = summaries(engine)
    assert len(after) == TWEETS
    assert {tweet: after[tweet] for tweet in written} == written
