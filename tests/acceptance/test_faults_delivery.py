"""Messages come five times or never, producers and workers die between two steps: each job's effect is there once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import text

from deploy.flower import free_port
from producers.cli import main
from schemas.payloads import Queue, SummarizationSpec
from tasks import summarization
from tests.support.batch import AT_ONCE
from tests.support.mill import Mill, seconds_until
from tests.support.tiny_model import build_tiny_model
from tests.support.work import KIND, QUEUE, Work, enqueue
from tests.support.worker_process import wait_for
from workers.app import publish

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.fault(24)
@pytest.mark.timeout(2400)
def test_a_kill_between_rows_and_their_commit_leaves_all_or_nothing(mill: Mill, measured, thorough: bool):
    kills = 200 if thorough else 4
    mill.workers(0)
    mill.start(2, TWEETMILL_LEASE="2")
    jobs = enqueue([Work(rows=3, fault="kill between rows and commit", faulty_attempts=1)] * kills)
    tally = mill.wait_done(jobs, 2100)

    writers = [mill.attempts_of_rows(job) for job in jobs]
    # The last row of the first attempt was written and never committed. On a busy machine a first attempt may lose its lease before.
    struck = sum(rows == [1, 1, 2] for rows in writers)
    partial = sum(len(rows) != 3 or rows[-1] == 1 for rows in writers)
    measured(kills=struck, lost=tally.lost, partial=partial, rows=tally.rows)
    odd = [(job, rows) for job, rows in zip(jobs, writers, strict=True) if rows != [1, 1, 2]]
    assert (tally.lost, partial, tally.rows) == (0, 0, 3 * kills), f"{odd}\n{mill.log()}"
    assert struck >= 0.9 * kills, odd


@pytest.mark.fault(25)
def test_a_job_delivered_six_times_runs_once(mill: Mill, measured):
    workers = mill.workers(2)
    before = _skipped(workers)
    jobs = enqueue([Work(rows=5, pause=0.02)] * 20, publish=False)
    for _ in range(5):
        for job in jobs:
            publish(KIND, QUEUE.value, job)
    tally = mill.wait_done(jobs)
    assert wait_for(lambda: _skipped(workers) - before >= 80, 30), mill.log()
    measured(lost=tally.lost, starts=tally.starts, rows=tally.rows, skipped=_skipped(workers) - before)
    assert (tally.lost, tally.extra, tally.rows, tally.failures) == (0, 0, 100, 0), mill.log()


def _skipped(workers) -> int:
    return sum(worker.log.count("nothing to claim") for worker in workers)


@pytest.mark.fault(26)
@pytest.mark.timeout(600)
def test_workers_killed_under_load_lose_no_job(mill: Mill, measured, thorough: bool):
    kills, count = (12, 600) if thorough else (2, 40)
    with mill.kept(2, TWEETMILL_LEASE="2") as deaths:
        jobs = enqueue([Work(rows=2, pause=0.04)] * count)
        for number in range(kills):
            assert wait_for(lambda number=number: mill.tally(jobs).starts > count * number / (kills + 1), 60), mill.log()
            _someone_busy(mill).process.kill()
            assert wait_for(lambda number=number: len(deaths) > number, 10)
        tally = mill.wait_done(jobs, 240)
    measured(kills=kills, jobs=count, lost=tally.lost, rows=tally.rows, extra_starts=tally.extra)
    assert (tally.lost, tally.rows) == (0, 2 * count), mill.log()


def _someone_busy(mill: Mill):
    """A worker that holds a job at this moment."""
    owners: list[str] = []

    def is_found() -> bool:
        with mill.engine.connect() as connection:
            owners[:] = connection.execute(text("SELECT owner FROM job WHERE state = 'running' AND lease_until > now()")).scalars()
        return any(worker.name in owners and worker.process.poll() is None for worker in mill.all)

    assert wait_for(is_found, 60), mill.log()
    return next(worker for worker in mill.all if worker.name in owners and worker.process.poll() is None)


def _batch(jobs: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "tests.support.batch", str(jobs)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _keys(mill: Mill) -> int:
    with mill.engine.connect() as connection:
        return connection.execute(text("SELECT count(DISTINCT idempotency_key) FROM job")).scalar_one()


def _jobs(mill: Mill) -> int:
    with mill.engine.connect() as connection:
        return connection.execute(text("SELECT count(*) FROM job")).scalar_one()


@pytest.mark.fault(27)
def test_a_producer_killed_in_the_middle_of_a_batch_may_simply_run_again(mill: Mill, measured):
    mill.workers(0)
    producer = _batch(10_000)
    assert wait_for(lambda: _jobs(mill) > 0)
    producer.kill()
    producer.wait(timeout=10)
    left = _jobs(mill)
    assert 0 < left < 10_000
    assert left % AT_ONCE == 0, "half of a transaction is there"

    again = _batch(10_000)
    again.communicate(timeout=120)
    measured(jobs_after_the_kill=left, jobs=_jobs(mill), lost=10_000 - _keys(mill), duplicated=_jobs(mill) - _keys(mill))
    assert (again.returncode, _jobs(mill), _keys(mill)) == (0, 10_000, 10_000)


@pytest.mark.fault(34)
def test_a_bad_line_among_many_costs_itself_alone(mill: Mill, measured, thorough: bool, tmp_path: Path):
    count = 1000 if thorough else 200
    lines = [json.dumps({"id": str(number), "text": f"the bus number {number} is late again"}) for number in range(count)]
    lines[50] = '{"id": "50", "text": ""}'
    file = tmp_path / "tweets.jsonl"
    file.write_text("\n".join(lines))
    assert main(["ingest", str(file)]) == 0

    [worker] = mill.start(queue=Queue.SUMMARIZATION, app="workers.app")
    with mill.engine.begin() as connection:
        new = "INSERT INTO model (name, base, method, stage) VALUES ('tiny', :base, 'none', 'summary') RETURNING id"
        model = connection.execute(text(new), {"base": str(build_tiny_model(tmp_path / "tiny"))}).scalar_one()
    whole = summarization.enqueue(SummarizationSpec(model_id=model, guard=False)).job
    assert wait_for(lambda: mill.row(whole).state == "done", 120), worker.log
    with mill.engine.connect() as connection:
        summaries, rejected = connection.execute(text("SELECT (SELECT count(*) FROM summary), (SELECT count(*) FROM rejected_row)")).one()
        [kept] = connection.execute(text("SELECT row_key, field FROM rejected_row")).all()
    measured(lines=count, rows=summaries, rejected=rejected)
    assert (summaries, rejected, tuple(kept)) == (count - 1, 1, ("51", "text"))


@pytest.mark.fault(36)
@pytest.mark.timeout(900)
def test_a_long_backlog_waits_in_postgres_and_not_in_memory(mill: Mill, measured, thorough: bool):
    """Workers work on it from the beginning; what they do not get done in the time of the test must wait, and nowhere but in Postgres."""
    count = 100_000 if thorough else 5_000
    mill.workers(2)
    longest = 0
    producer = _batch(count)
    with mill.redis() as client:
        while producer.poll() is None:
            longest = max(longest, client.llen(QUEUE.value))
            time.sleep(0.05)
        megabytes = int(producer.communicate()[0])
        until = time.monotonic() + (60 if thorough else 3)
        while time.monotonic() < until:
            longest = max(longest, client.llen(QUEUE.value))
            time.sleep(0.05)
    with mill.engine.connect() as connection:
        states = dict(connection.execute(text("SELECT state, count(*) FROM job GROUP BY state")).all())
    measured(
        jobs=count, lost=count - sum(states.values()), producer_mb=megabytes, longest_queue=longest, done_meanwhile=states.get("done", 0)
    )
    assert sum(states.values()) == count
    assert set(states) <= {"queued", "running", "done"}, mill.log()
    assert states["done"] > 0
    assert (megabytes < 300, 0 < longest <= 64 + 2) == (True, True), f"{megabytes} MB, {longest} messages"


@pytest.mark.fault(37)
def test_flower_is_killed_and_started_again_and_no_job_notices(mill: Mill, measured, thorough: bool):
    mill.workers(2)
    batch = [Work(rows=4, pause=0.1)] * (100 if thorough else 40)
    figures = {}
    if thorough:
        quiet = enqueue(batch)
        figures["seconds_without_flower"] = seconds_until(lambda: mill.tally(quiet).lost == 0, 120)
    port = free_port(5755)
    jobs = enqueue(batch)
    begun = time.monotonic()
    for _ in range(2):
        flower = _flower(mill, port)
        try:
            figures["flower_back_seconds"] = seconds_until(lambda: _answers(port), 60)
        finally:
            flower.kill()
            flower.wait(timeout=10)
    tally = mill.wait_done(jobs, 120)
    measured(lost=tally.lost, extra_starts=tally.extra, seconds_with_flower=round(time.monotonic() - begun, 2), **figures)
    assert (tally.lost, tally.extra, tally.rows, tally.failures) == (0, 0, 4 * len(batch), 0), mill.log()


def _flower(mill: Mill, port: int) -> subprocess.Popen[bytes]:
    with (mill.home.logs / "flower.log").open("ab") as log:
        environment = {**psutil.Process().environ(), **_settings(mill), "TWEETMILL_FLOWER_PORT": str(port)}
        return subprocess.Popen([sys.executable, "-m", "deploy.flower"], cwd=ROOT, env=environment, stdout=log, stderr=log)


def _settings(mill: Mill) -> dict[str, str]:
    return {"TWEETMILL_HOME": str(mill.home.path), "DATABASE_URL": mill.postgres.url, "CELERY_BROKER_URL": mill.valkey.url}


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthcheck", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
