"""One worker on a node of its own: checked before it starts, so that a wrong setting is a sentence and not a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from deploy.health import broker_reading, database_reading
from deploy.home import Home
from schemas.payloads import Queue
from workers.errors import SettingsError, Unavailable
from workers.settings import Settings


def worker_command(name: str, queues: Sequence[str], concurrency: int = 1) -> list[str]:
    """What starts one Celery worker."""
    options = ["-n", f"{name}@%h", "-Q", ",".join(queues), "--concurrency", str(concurrency), "--loglevel", "INFO", "--without-mingle"]
    return [sys.executable, "-m", "celery", "-A", "workers.app:app", "worker", *options]


def check(settings: Settings, queues: Sequence[str]) -> None:
    """Refuse to start a worker that could not do its work.

    Raises:
        SettingsError: an unknown queue, a Redis that may evict messages, or a setting that is missing.
        Unavailable: Redis or Postgres does not answer, or its tables are not up to date.
    """
    unknown = sorted(set(queues) - {queue.value for queue in Queue})
    if unknown or not queues:
        raise SettingsError(f"no such queue: {', '.join(unknown) or '(none named)'}. There are {', '.join(Queue)}")
    _check_broker(settings)
    _check_database(settings)


def _check_broker(settings: Settings) -> None:
    from redis.exceptions import AuthenticationError, RedisError

    try:
        eviction = broker_reading(settings)["eviction"]
    except AuthenticationError:
        raise SettingsError("Redis refuses the password: check CELERY_BROKER_URL and TWEETMILL_BROKER_PASSWORD_FILE") from None
    except RedisError as error:
        raise Unavailable(f"Redis does not answer ({type(error).__name__}): check CELERY_BROKER_URL, and that the server is up") from None
    if eviction not in (None, "noeviction"):
        raise SettingsError(f"Redis evicts keys (maxmemory-policy {eviction}) and would lose queues: set it to noeviction")


def _check_database(settings: Settings) -> None:
    from sqlalchemy.exc import OperationalError

    try:
        reading = database_reading(settings)
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise Unavailable(f"Postgres does not answer ({reason}): check DATABASE_URL, and that the server is up") from None
    if reading["revision"] != reading["head"]:
        raise Unavailable(f"the tables stand at {reading['revision']}, this code expects {reading['head']}: run `tweetmill migrate`")


def become(settings: Settings, name: str, queues: Sequence[str], concurrency: int, gpu: str | None) -> None:
    """Replace this process by a Celery worker.

    Args:
        settings: of this node.
        name: the part of the worker's name before the host.
        queues: that it serves.
        concurrency: jobs at a time.
        gpu: devices that it may see, such as `0` or `0,1`; None: all.
    """
    home = Home(settings.home)
    home.prepare()
    # Celery puts the working folder on the import path: ours holds no modules that could pass for the real ones.
    os.chdir(home.run)
    command = worker_command(name, queues, concurrency)
    devices = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    os.execve(command[0], command, {**os.environ, **devices})  # noqa: S606 - no shell is wanted
