"""Evaluation: score a model beside its baselines."""

from __future__ import annotations

from typing import Any

from schemas.payloads import EvaluationSpec, Queue
from tasks.enqueue import Submitted, job_key, submit
from workers.app import app
from workers.jobs import attempt

EVALUATE = "evaluation.evaluate"


def enqueue(spec: EvaluationSpec) -> Submitted:
    """Enqueue an evaluation. The same model on the same set with the same prompts is one job."""
    from workers.text.instructions import PROMPT_VERSION

    return submit(EVALUATE, Queue.EVALUATION, spec, job_key(EVALUATE, spec, PROMPT_VERSION))


@app.task(name=EVALUATE, bind=True)  # type: ignore[untyped-decorator]
def evaluate(task: Any, job_id: str) -> None:
    """Evaluate as job `job_id` says."""
    from workers.evaluation import job as run

    attempt.run(job_id, task.request.hostname, EvaluationSpec, run.evaluate, EVALUATE)
