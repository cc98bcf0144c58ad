"""Synthesis: build a dataset."""

from __future__ import annotations

from typing import Any

from schemas.payloads import Queue, SynthesisSpec
from tasks.submission import Submitted, fingerprint, submit
from workers import attempt
from workers.app import app

SYNTHESIZE = "synthesis.synthesize"


def enqueue(spec: SynthesisSpec, *, tweets: int) -> Submitted:
    """Ask for a dataset. `tweets` is how many are ingested: more of them make the same recipe a new job."""
    return submit(SYNTHESIZE, Queue.SYNTHESIS, spec, fingerprint(SYNTHESIZE, spec, str(tweets)))


@app.task(name=SYNTHESIZE, bind=True)  # type: ignore[untyped-decorator]
def synthesize(task: Any, job_id: str) -> None:
    """Build the dataset of job `job_id`."""
    from workers.synthesis import dataset

    attempt.run(job_id, task.request.hostname, SynthesisSpec, dataset.synthesize, SYNTHESIZE)
