"""Evaluation: score a model beside its baselines, or several systems against each other."""

from __future__ import annotations

from typing import Any

from schemas.payloads import ComparisonSpec, EvaluationSpec, Queue
from tasks.enqueue import Submitted, job_key, submit
from workers.app import app
from workers.jobs import attempt

EVALUATE = "evaluation.evaluate"
COMPARE = "evaluation.compare"


def enqueue(spec: EvaluationSpec) -> Submitted:
    """Enqueue an evaluation. The same model on the same set with the same prompts is one job."""
    from workers.text.instructions import PROMPT_VERSION

    return submit(EVALUATE, Queue.EVALUATION, spec, job_key(EVALUATE, spec, PROMPT_VERSION))


@app.task(name=EVALUATE, bind=True)  # type: ignore[untyped-decorator]
def evaluate(task: Any, job_id: str) -> None:
    """Evaluate as job `job_id` says."""
    from workers.evaluation import job as run

    attempt.run(job_id, task.request.hostname, EvaluationSpec, run.evaluate, EVALUATE)


def enqueue_comparison(spec: ComparisonSpec) -> Submitted:
    """Enqueue a comparison. The same systems on the same set with the same prompts are one job."""
    from workers.text.instructions import JUDGE_VERSION, PROMPT_VERSION

    versions = (PROMPT_VERSION,) if spec.judge is None else (PROMPT_VERSION, JUDGE_VERSION)
    return submit(COMPARE, Queue.EVALUATION, spec, job_key(COMPARE, spec, *versions))


@app.task(name=COMPARE, bind=True)  # type: ignore[untyped-decorator]
def compare(task: Any, job_id: str) -> None:
    """Compare systems as job `job_id` says."""
    from workers.evaluation import comparison

    attempt.run(job_id, task.request.hostname, ComparisonSpec, comparison.compare, COMPARE)
