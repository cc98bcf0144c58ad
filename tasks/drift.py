"""Drift: compare the newest tweets with what a model learnt from."""

from __future__ import annotations

import uuid
from typing import Any

from schemas.payloads import DriftSpec, Queue
from tasks.enqueue import Submitted, submit
from workers.app import app
from workers.jobs import attempt

WATCH = "evaluation.drift"


def enqueue(spec: DriftSpec) -> Submitted:
    """Enqueue a look for drift. Each is a job of its own: tweets come in meanwhile."""
    return submit(WATCH, Queue.EVALUATION, spec, uuid.uuid4().hex)


@app.task(name=WATCH, bind=True)  # type: ignore[untyped-decorator]
def watch_drift(task: Any, job_id: str) -> None:
    """Look for drift as job `job_id` says."""
    from workers.drift import job

    attempt.run(job_id, task.request.hostname, DriftSpec, job.watch, WATCH)
