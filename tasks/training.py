"""Training: fine-tune a model on a dataset."""

from __future__ import annotations

from typing import Any

from schemas.payloads import Queue
from schemas.training import TrainingSpec
from tasks.enqueue import Submitted, job_key, submit
from workers.app import app
from workers.jobs import attempt

TRAIN = "training.train"


def enqueue(spec: TrainingSpec, *, dataset_fingerprint: str) -> Submitted:
    """Enqueue a training. The same spec on the same examples is one job."""
    return submit(TRAIN, Queue.TRAINING, spec, job_key(TRAIN, spec, dataset_fingerprint))


@app.task(name=TRAIN, bind=True)  # type: ignore[untyped-decorator]
def train(task: Any, job_id: str) -> None:
    """Fine-tune as job `job_id` says."""
    from workers.inference import engines
    from workers.training import job as run

    engines.release()  # what this worker kept warm must not share memory with the ranks
    attempt.run(job_id, task.request.hostname, TrainingSpec, run.train, TRAIN)
