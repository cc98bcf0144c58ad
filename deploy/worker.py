"""Start one worker on a node of its own, after checks that turn a wrong setting into a sentence and not a traceback."""

from __future__ import annotations

import os
from collections.abc import Sequence

from deploy.environment import CODE, python
from deploy.local.home import Home
from schemas.payloads import Queue
from workers.errors import SettingsError
from workers.readiness import startup
from workers.settings import ENVIRONMENT, Settings


def worker_command(name: str, queues: Sequence[str], concurrency: int = 1) -> list[str]:
    """Return the command that starts one Celery worker."""
    options = ["-n", f"{name}@%h", "-Q", ",".join(queues), "--concurrency", str(concurrency), "--loglevel", "INFO", "--without-mingle"]
    return python("-m", "celery", "-A", "workers.app:app", "worker", *options)


def check(settings: Settings, queues: Sequence[str]) -> None:
    """Refuse to start a worker that could not do its work.

    Raises:
        SettingsError: an unknown queue, or a setting that is missing or wrong.
        NotReady: a server, its tables or this machine's clock is not as a worker needs it.
        Unavailable: Redis or Postgres does not answer.
    """
    unknown = sorted(set(queues) - set(Queue))
    if unknown or not queues:
        raise SettingsError(f"no such queue: {', '.join(unknown) or '(none named)'}. There are {', '.join(Queue)}")
    startup.check(settings)


def become(settings: Settings, name: str, queues: Sequence[str], concurrency: int, gpu: str | None, engine: str | None = None) -> None:
    """Replace this process by a Celery worker.

    Args:
        settings: of this node.
        name: the part of the worker's name before the host.
        queues: that it serves.
        concurrency: jobs at a time.
        gpu: devices that it may see, such as `0` or `0,1`; None: all.
        engine: that writes, in place of that of `TWEETMILL_ENGINE`.
    """
    home = Home(settings.home)
    home.prepare()
    os.chdir(CODE)
    command = worker_command(name, queues, concurrency)
    added = {} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu}
    # The numbers of `gpu` are the driver's: CUDA by itself would number the fastest device 0.
    added["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    if engine is not None:
        added["TWEETMILL_ENGINE"] = engine
    os.execve(command[0], command, {**ENVIRONMENT, "PYTHONSAFEPATH": "1", **added})  # noqa: S606 - no shell is wanted
