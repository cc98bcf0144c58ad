"""Summaries and trainings of one queue on one GPU: real workers, an engine and ranks as real processes, and a driver that lists the GPU."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import Engine, text

from schemas.payloads import SummarizationSpec
from schemas.records import TweetRecord
from tasks import summarization
from tests.integration.ingest.test_ingest import Line
from tests.support import jobs
from tests.support.gpus import uuid_of, write_driver
from tests.support.tiny_model import build_tiny_adapter, build_tiny_model
from tests.support.trainings import TrainingJob, add_dataset
from tests.support.worker_process import WorkerProcess, wait_for
from workers.ingest.tweets import copy_tweets

pytestmark = pytest.mark.spread

# This machine's torch has no CUDA: what would compute on the GPU that it holds computes on the CPU.
ON_CPU = """
import sys
if "workers.inference.gpu.main" in sys.orig_argv:
    from workers.inference.builders import transformers
    build = transformers.build
    transformers.build = lambda settings, base: build(settings.model_copy(update={"device": "cpu"}), base)
if "workers.training.rank.main" in sys.orig_argv:
    from workers.gpus import driver
    driver.usable_gpus = lambda named: ()
"""


@pytest.fixture
def start(
    clean_database: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_worker: Callable[..., WorkerProcess]
) -> Callable[..., WorkerProcess]:
    """Starts workers that see one GPU."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(ON_CPU)
    monkeypatch.setenv("PATH", f"{write_driver(tmp_path / 'driver', 1)}:{os.environ['PATH']}")
    return partial(start_worker, PYTHONPATH=str(tmp_path / "site"), TWEETMILL_LEASE="8")


def engine_below(worker: WorkerProcess) -> list[psutil.Process]:
    below = psutil.Process(worker.process.pid).children(recursive=True)
    return [process for process in below if "workers.inference.gpu.main" in process.cmdline()]


@pytest.fixture
def model(clean_database: Engine, tmp_path: Path) -> tuple[int, Path]:
    """A tuned model with its base, a tweet to summarise, and examples to train on."""
    base = build_tiny_model(tmp_path / "tiny" / "base")
    adapter = build_tiny_adapter(base, tmp_path / "tiny" / "adapter")
    add_dataset(clean_database)
    tweet = TweetRecord(id="1", text="The bus was late again and I missed my train to Oslo!", source="s")
    copy_tweets([Line(1, tweet)], origin="test")
    insert = "INSERT INTO model (name, base, method, stage, adapter_uri) VALUES ('t', :base, 'lora', 'summary', :adapter) RETURNING id"
    with clean_database.begin() as connection:
        return int(connection.execute(text(insert), {"base": str(base), "adapter": str(adapter)}).scalar_one()), base


@pytest.mark.parametrize("queues", [["summarization,training"], ["summarization", "training"]], ids=["its own worker", "another worker"])
def test_a_training_gets_the_gpu_of_a_warm_engine_of(
    queues: list[str], clean_database: Engine, model: tuple[int, Path], tmp_path: Path, start: Any
) -> None:
    workers = [start(f"worker{number}", served) for number, served in enumerate(queues)]
    summaries = summarization.enqueue(SummarizationSpec(model_id=model[0])).job
    assert wait_for(lambda: jobs.row(clean_database, summaries).state == "done", 120), workers[0].log
    [warm] = engine_below(workers[0])
    (tmp_path / "driver" / "computing").write_text(f"{warm.pid}, {uuid_of(0)}\n")

    training = TrainingJob(clean_database, model[1], world_size=1, max_steps=2)
    assert wait_for(lambda: training.row.finished_at is not None, 120), (training.log, workers[-1].log)
    assert (training.row.state, training.row.preemptions) == ("done", 0), "it waited, and was not given back"
    assert not warm.is_running()
    assert f"leaves {uuid_of(0)}" in workers[0].log
