"""A learning curve over two real workers, one of which dies while it trains a point: every point is trained once and scored once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support.curated import add_pairs
from tests.support.worker_process import WorkerProcess, wait_for

pytestmark = pytest.mark.spread

QUEUES = "training,evaluation"
QUICK = {"TWEETMILL_LEASE": "12", "TWEETMILL_HEARTBEAT": "1"}  # seconds: longer than two that start at once hold each other up
EPOCHS = 100  # of one step for each four pairs: seconds, so that a training which was seen at work does not end before it is struck
_AT_WORK = """
SELECT job.id, job.owner FROM job WHERE kind = 'training.train' AND state = 'running'
AND EXISTS (SELECT FROM job_event WHERE job_event.job = job.id AND event = 'log') ORDER BY job.created_at LIMIT 1
"""
_JOBS = "SELECT id, kind, state, attempt, failures, finished_at FROM job ORDER BY created_at, id"


def draw(recipe: Path, sizes: str) -> subprocess.Popen[str]:
    """`tweetmill curve run` in a process of its own."""
    verb = ["curve", "run", "-r", str(recipe), "--sizes", sizes, "--seeds", "1", "--no-prompting", "--json"]
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from producers.cli import main; sys.exit(main(sys.argv[1:]))", *verb],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def drawn(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(out)
    return answer


def rows(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(query)).all())


@pytest.mark.timeout(1500)
def test_a_worker_killed_in_a_training_costs_one_attempt_and_no_point(
    clean_database: Engine, base: Path, tmp_path: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    engine = clean_database
    recipe = tmp_path / "recipe.yaml"
    dataset = add_pairs(engine, pairs=12, held_back=4)
    recipe.write_text(f"name: grown\nbase: {base}\ndataset: {dataset}\nlora_r: 4\nzero_stage: 0\nnum_train_epochs: {EPOCHS}\n")
    workers = {f"w{number}@test": start_worker(f"w{number}", QUEUES, **QUICK) for number in (0, 1)}
    first = draw(recipe, "4,8")
    assert wait_for(lambda: rows(engine, _AT_WORK) != [], 400), [worker.log for worker in workers.values()]
    (struck,) = rows(engine, _AT_WORK)
    workers.pop(struck.owner).kill_all()
    answer = drawn(first)

    assert [point["size"] for point in answer["series"]["lora, human"]["points"]] == [4, 8]
    assert (answer["failed"], [each["state"] for each in answer["trained"]]) == (0, ["done"] * 2)
    before = rows(engine, _JOBS)
    assert [job.kind for job in before].count("training.train") == [job.kind for job in before].count("evaluation.compare") == 2
    assert {job.state for job in before} == {"done"}
    assert next(job.attempt for job in before if job.id == struck.id) > 1, "it was struck in its first attempt"
    assert models(engine) == {f"grown-lora-human-{size}-0" for size in (4, 8)}

    grown = drawn(draw(recipe, "4,8,12"))
    assert [point["size"] for point in grown["series"]["lora, human"]["points"]] == [4, 8, 12]
    assert rows(engine, _JOBS)[: len(before)] == before, "finished points are not touched"
    assert len(rows(engine, _JOBS)) == len(before) + 2
    assert models(engine) == {f"grown-lora-human-{size}-0" for size in (4, 8, 12)}


def models(engine: Engine) -> set[str]:
    """The models' names; a second one of a training would bear the job's id in its own."""
    return {row.name for row in rows(engine, "SELECT name FROM model")}
