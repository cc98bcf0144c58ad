"""A worker in a thread of the test: it takes what is queued and runs the very tasks that a Celery worker runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text

from workers.app import app


@contextmanager
def working(engine: Engine) -> Iterator[None]:
    """Work while the block runs."""
    stop = threading.Event()

    def work() -> None:
        app.loader.import_default_modules()
        while not stop.wait(0.05):
            work_off(engine)

    thread = threading.Thread(target=work, name="worker")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def work_off(engine: Engine) -> int:
    """Run what is queued, in the order of its creation; return how many jobs that were."""
    app.loader.import_default_modules()
    with engine.connect() as connection:
        queued = connection.execute(
            text("SELECT id, kind FROM job WHERE state = 'queued' AND run_after <= now() ORDER BY created_at")
        ).all()
    for job in queued:
        app.tasks[job.kind].apply(args=(str(job.id),), throw=True)
    return len(queued)
