"""Two real workers with the echo engine share the shards of a job: a load test without a model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from schemas.payloads import SummarizationSpec
from tasks.summarization import enqueue
from tests.support import jobs
from tests.support.worker_process import WorkerProcess, wait_for

pytestmark = pytest.mark.spread

SHARDS, SHARD = 6, 16
ECHO = {"TWEETMILL_ENGINE": "echo", "TWEETMILL_ECHO_SECONDS": "0.5"}


def test_two_workers_echo_every_tweet_once_and_both_have_a_part_in_it(
    clean_database: Engine, start_worker: Callable[..., WorkerProcess]
) -> None:
    with clean_database.begin() as connection:
        rows = [{"id": f"t{n}", "text": f"omg the bus number {n} was late AGAIN #fail"} for n in range(SHARDS * SHARD)]
        connection.execute(text("INSERT INTO tweet (id, source, text, text_hash) VALUES (:id, 'test', :text, md5(:text))"), rows)
        model = "INSERT INTO model (name, base, method, stage) VALUES ('echoed', 'none', 'none', 'summary') RETURNING id"
        echoed = connection.execute(text(model)).scalar_one()
    workers = [start_worker(name, "summarization", **ECHO) for name in ("one", "two")]
    assert all(wait_for(worker.is_ready) for worker in workers), "\n".join(worker.log for worker in workers)

    job = enqueue(SummarizationSpec(model_id=echoed, shard_size=SHARD)).job

    assert wait_for(lambda: jobs.state(clean_database, job) == "done"), "\n".join(worker.log for worker in workers)
    with clean_database.connect() as connection:
        stored = connection.execute(text("SELECT tweet, summary, worker FROM summary")).all()
    assert sorted(row.tweet for row in stored) == sorted(f"t{n}" for n in range(SHARDS * SHARD))
    assert {row.worker for row in stored} == {worker.name for worker in workers}
    said = {row.tweet: row.summary for row in stored}
    assert said["t3"].lower().startswith("omg the bus number 3 was late")
