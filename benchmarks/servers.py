"""Valkey and a migrated Postgres of our own, in a folder that is thrown away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from benchmarks.measure import CannotRun
from deploy.local.home import Home
from deploy.local.servers import Postgres, Valkey
from schemas.migrations import migrate
from workers.broker import redis_client
from workers.database import connect, get_engine, transaction
from workers.settings import get_settings

ROOT = Path(__file__).resolve().parents[1]
_NAMES = ("TWEETMILL_HOME", "DATABASE_URL", "CELERY_BROKER_URL")
_PATIENCE = 120.0


@contextmanager
def servers() -> Iterator[Path]:
    """Both servers, with the settings of this process pointing to them; yields their folder."""
    # As root, Postgres runs as somebody else, who must be let into the folder.
    home = Home(Path(tempfile.mkdtemp(prefix="tweetmill-bench-")))
    home.prepare()
    valkey, postgres = Valkey(home), Postgres(home)
    before = {name: os.environ.get(name) for name in _NAMES}
    try:
        valkey.start()
        postgres.start()
        engine = connect(postgres.url)
        migrate(engine)
        engine.dispose()
        _point_to(dict(zip(_NAMES, (str(home.path), postgres.url, valkey.url), strict=True)))
        yield home.path
        get_engine().dispose()
    finally:
        _point_to(before)
        valkey.stop()
        postgres.stop()
        shutil.rmtree(home.path, ignore_errors=True)


def _point_to(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    get_settings.cache_clear()


def empty(*tables: str) -> None:
    """Empty these tables, and what refers to them."""
    with transaction() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE"))


def drop_messages(*queues: str) -> None:
    """Drop what waits in these queues. What binds them to their exchanges stays."""
    with redis_client(get_settings().broker()) as client:
        client.delete(*queues)


@contextmanager
def worker(app: str, queue: str, folder: Path) -> Iterator[None]:
    """One Celery worker with one process for `queue`, ready when the block begins."""
    log = log_of(queue, folder)
    log.unlink(missing_ok=True)
    process = start_worker(app, queue, folder, processes=1)
    try:
        wait_for(lambda: process.poll() is not None or " ready." in log.read_text(errors="replace"), f"the worker of {queue}")
        if process.poll() is not None:
            raise CannotRun(f"the worker of {queue} did not start: {log.read_text(errors='replace')[-500:]}")
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def log_of(queue: str, folder: Path) -> Path:
    """What the workers of a queue say."""
    return folder / f"{queue}-worker.log"


def start_worker(
    app: str, queue: str, folder: Path, *, processes: int, name: str | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """A Celery worker for `queue`, which is not ready yet; its name is the queue's unless another is given."""
    command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", f"{name or queue}@bench", "-Q", queue, "-c", str(processes)]
    with log_of(queue, folder).open("ab") as out:
        return subprocess.Popen(
            [*command, "--loglevel", "INFO", "--without-mingle", "--without-gossip"],
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        )


def wait_for(condition: Callable[[], bool], what: str, pause: float = 0.01, patience: float = _PATIENCE) -> None:
    """Wait until `condition` holds, looking every `pause` seconds.

    Raises:
        CannotRun: it does not within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise CannotRun(f"waited {patience:.0f} s for {what}")
        time.sleep(pause)
