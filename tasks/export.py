"""Export: write a model as other programs load it, or check such an export."""

from __future__ import annotations

import uuid
from typing import Any

from schemas.payloads import ExportSpec, Queue
from tasks.enqueue import Submitted, submit
from workers.app import app
from workers.jobs import attempt

EXPORT = "evaluation.export"


def enqueue(spec: ExportSpec) -> Submitted:
    """Enqueue an export. Each is a job of its own: a folder may have been moved or changed meanwhile."""
    return submit(EXPORT, Queue.EVALUATION, spec, uuid.uuid4().hex)


@app.task(name=EXPORT, bind=True)  # type: ignore[untyped-decorator]
def export(task: Any, job_id: str) -> None:
    """Export as job `job_id` says."""
    from workers.exports import job

    attempt.run(job_id, task.request.hostname, ExportSpec, job.export, EXPORT)
