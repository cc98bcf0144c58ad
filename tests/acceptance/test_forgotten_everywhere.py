"""A tweet that was ingested, put into a dataset, trained on and summarised by real workers, then forgotten: it is looked for everywhere."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from producers.cli import main
from schemas.payloads import SummarizationSpec
from schemas.states import FINAL_STATES
from schemas.training import TrainingSpec
from tasks import summarization, training
from tests.support import jobs
from tests.support.everywhere import MARKER, where
from tests.support.mill import Mill
from tests.support.trainings import TrainingJob
from tests.support.worker_process import WorkerProcess, wait_for
from workers.catalog import datasets, models
from workers.database import session

THE_TWEET = "tweet-7"
PLACES = ("Oslo", "Bergen", "Paris", "London", "Berlin", "Madrid", "Rome", "Vienna", "Prague", "Athens")
THINGS = ("train", "bus", "ferry", "tram", "flight", "taxi")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of a dataset, beside 60 tweets, a few of them in a file of their own, and the pairs of 30: the marker is among each."""
    said = [f"The {thing} to {place} was {number + 2} minutes late." for number, place in enumerate(PLACES) for thing in THINGS]
    said[7] = f"The {MARKER} to Bergen was 3 minutes late."
    tweets = [{"id": f"tweet-{number}", "text": f"omg {sentence.lower()} smh", "author": "a"} for number, sentence in enumerate(said)]
    pairs = [{"tweet_id": f"tweet-{number}", "clean": sentence, "summary": sentence} for number, sentence in enumerate(said[:30])]
    for name, rows in (("few", tweets[5:9]), ("tweets", tweets), ("pairs", pairs)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = tmp_path / "recipe.yaml"
    file.write_text("dataset: late\npairs: pairs.jsonl\ntest_size: 4\nnoise: {copies: 2}\n")
    return file


def done(mill: Mill, job: uuid.UUID, worker: WorkerProcess) -> None:
    """Wait for the end of a job, which must be a good one."""
    assert wait_for(lambda: jobs.state(mill.engine, job) in FINAL_STATES, 240), worker.log[-3000:]
    assert jobs.state(mill.engine, job) == "done", jobs.row(mill.engine, job).error


def in_redis(mill: Mill) -> list[bytes]:
    """Every key of Redis in whose dump, or name, the marker is."""
    with mill.redis() as client:
        keys = list(client.scan_iter())
        return [key for key in keys if MARKER.encode() in key + (client.dump(key) or b"")]


def in_files(*folders: Path) -> set[Path]:
    """The files in which the marker is; the inside of Postgres is not looked at, where a deleted row stays until vacuum."""
    found = set()
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and "postgres" not in path.relative_to(folder).parts and MARKER.encode() in path.read_bytes():
                found.add(path)
    return found


def test_nothing_of_it_is_left(
    mill: Mill, base: Path, recipe: Path, start_worker: Callable[..., WorkerProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    home = mill.home.path
    worker = start_worker("all", "synthesis,training,summarization")
    assert main(["ingest", str(recipe.with_name("few.jsonl"))]) == 0
    assert main(["ingest", str(recipe.with_name("tweets.jsonl"))]) == 0
    assert main(["synthesize", "-r", str(recipe)]) == 0
    with session() as opened:
        fingerprint = datasets.resolve(opened, "late").fingerprint
    spec = TrainingSpec(name="tuned", base=str(base), dataset="late", world_size=1, max_steps=4, eval_rows=2, eval_steps=2)
    done(mill, training.enqueue(spec, dataset_fingerprint=fingerprint).job, worker)
    with session() as opened:
        model = models.resolve(opened, "tuned").id
    done(mill, summarization.enqueue(SummarizationSpec(model_id=model, source="few", guard=False)).job, worker)
    interrupted = TrainingJob(mill.engine, base, dataset="late", name="again", world_size=1, save_steps=1, eval_rows=2, eval_steps=50)
    assert wait_for(lambda: interrupted.saved(1) > 0, 240), worker.log[-3000:]
    worker.kill_all()

    left = {"train.jsonl", "eval.jsonl"} & {path.name for path in in_files(home / "runs")}
    assert left, "the ranks of a killed worker leave their texts behind"
    assert list(home.glob("runs/*/tokens/*"))
    with mill.engine.connect() as connection:
        assert where(connection) >= {"tweet", "summary", "example", "curated"}
        made = connection.execute(text("SELECT count(*) FROM example WHERE tweet = :tweet"), {"tweet": THE_TWEET}).scalar_one()
    assert made >= 3, "a pair and its noised copies"

    capsys.readouterr()
    assert main(["forget", THE_TWEET, "--yes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["tweets"], told["summaries"], told["examples"]) == (1, 1, made)
    assert [(loss["dataset"], loss["models"]) for loss in told["losses"]] == [("late", ["tuned"])]

    other = start_worker("other", "evaluation")
    assert wait_for(lambda: not in_files(home) and not list(home.glob("runs/*/tokens/*"))), sorted(in_files(home))
    with mill.engine.connect() as connection:
        assert where(connection) == set()
        assert connection.execute(text("SELECT count(*) FROM example WHERE tweet = :tweet"), {"tweet": THE_TWEET}).scalar_one() == 0
    assert in_redis(mill) == []
    assert [log for log in (worker.log, other.log) if MARKER in log] == []
    assert main(["model", "tuned", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["taken_back"] > 0
    assert list(home.glob("models/adapters/tuned-*/README.md"))
    assert all("taken back since it was trained" in card.read_text() for card in home.glob("models/adapters/tuned-*/README.md"))
