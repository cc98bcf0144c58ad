"""Fixtures of tests with real workers and ranks: a mill for each module, because the tests stop its servers, and a tiny base."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.home import Home
from schemas.migrations import migrate
from tests.conftest import new_settings
from tests.support.mill import Mill
from tests.support.ranks import write_train_file
from tests.support.tiny_model import build_tiny_model
from tests.support.worker_process import WorkerProcess
from workers.database import get_engine


@pytest.fixture(scope="module")
def module_mill() -> Iterator[Mill]:
    """Servers up, tables made, and this process's settings pointing to them."""
    home = Home(Path(tempfile.mkdtemp(prefix="tweetmill-")))
    home.prepare()
    mill = Mill(home)
    try:
        mill.valkey.start()
        mill.postgres.start()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("TWEETMILL_HOME", str(home.path))
            environment.setenv("DATABASE_URL", mill.postgres.url)
            environment.setenv("CELERY_BROKER_URL", mill.valkey.url)
            with new_settings():
                migrate(get_engine())
                yield mill
                get_engine().dispose()
    finally:
        mill.close()
        shutil.rmtree(home.path, ignore_errors=True)


@pytest.fixture
def mill(module_mill: Mill) -> Iterator[Mill]:
    """The mill with nothing to do. Workers with settings of their own end with the test, shared ones wait for the next."""
    module_mill.forget()
    yield module_mill
    module_mill.tidy()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base model."""
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def train_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training file that a tiny model learns."""
    return write_train_file(tmp_path_factory.mktemp("data") / "train.jsonl")


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Start a worker by its name and its queues, with what is added to the environment; all are killed in the end."""
    started: list[WorkerProcess] = []

    def start(name: str, queues: str, **named: Any) -> WorkerProcess:
        started.append(WorkerProcess(name, queues, tmp_path, **named))
        return started[-1]

    yield start
    for worker in started:
        worker.kill_all()
