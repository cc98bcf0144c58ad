"""What one would write with Celery alone: a task, its arguments in the message, no row anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from celery import Celery

from workers.settings import get_settings

QUEUE = "plain"


class PlainCelery(Celery):  # type: ignore[misc]
    """Celery's defaults on the same broker, results off as ours are. Reads the settings when they are first needed."""

    def _load_config(self) -> Any:
        self._preconf.update(
            {"broker_url": get_settings().broker(), "task_ignore_result": True, "task_default_queue": QUEUE, "worker_concurrency": 1}
        )
        return super()._load_config()


app = PlainCelery("plain", set_as_current=False)


@app.task(name="plain.noop")  # type: ignore[untyped-decorator]
def noop(last: str | None = None) -> None:
    """Do nothing; the last of many leaves a file behind."""
    if last is not None:
        Path(last).touch()


@app.task(name="plain.summarize")  # type: ignore[untyped-decorator]
def summarize(tweet: str) -> None:
    """Stand for a task that gets one tweet. No worker runs it: only sending it is measured."""
