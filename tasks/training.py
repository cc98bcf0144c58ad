"""Training: fine-tune a model on a dataset."""

from __future__ import annotations

from typing import Any

from schemas.payloads import Queue
from schemas.training import GangMember, TrainingSpec
from tasks.enqueue import Submitted, job_key, submit
from workers.app import app
from workers.jobs import attempt
from workers.jobs.members import MEMBER

TRAIN = "training.train"


def enqueue(spec: TrainingSpec, *, dataset_fingerprint: str) -> Submitted:
    """Enqueue a training, and with more than one node its members. The same spec on the same examples is one job."""
    members = [GangMember(node=node, spec=spec) for node in range(1, spec.nodes)]
    return submit(TRAIN, Queue.TRAINING, spec, job_key(TRAIN, spec, dataset_fingerprint), members=(MEMBER, members))


@app.task(name=TRAIN, bind=True)  # type: ignore[untyped-decorator]
def train(task: Any, job_id: str) -> None:
    """Fine-tune as job `job_id` says."""
    from workers.inference import engines
    from workers.training import job as run

    engines.release()  # what this worker kept warm must not share memory with the ranks
    attempt.run(job_id, task.request.hostname, TrainingSpec, run.train, TRAIN)


@app.task(name=MEMBER, bind=True)  # type: ignore[untyped-decorator]
def member(task: Any, job_id: str) -> None:
    """Train together with the leader of member `job_id`."""
    from workers.training import member as run

    attempt.run(job_id, task.request.hostname, GangMember, run.serve, MEMBER)
