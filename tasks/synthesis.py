"""Synthesis: build a dataset."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from schemas.payloads import Queue, SynthesisSpec
from tasks.submission import Submitted, fingerprint, submit
from workers import attempt
from workers.app import app
from workers.store import transaction

SYNTHESIZE = "synthesis.synthesize"

# The dataset's fingerprint where it is no longer what the job of this key made.
_OVERWRITTEN = """
SELECT dataset.fingerprint FROM job JOIN dataset ON dataset.name = :name
WHERE job.idempotency_key = :key AND job.state = 'done' AND job.result->>'fingerprint' <> dataset.fingerprint
"""


def enqueue(spec: SynthesisSpec, *, tweets: int) -> Submitted:
    """Ask for a dataset. `tweets` is how many are ingested: more of them make the same recipe a new job.

    So does another recipe that was built under the same name in between.
    """
    key = fingerprint(SYNTHESIZE, spec, str(tweets))
    with transaction() as connection:
        overwritten = connection.execute(text(_OVERWRITTEN), {"key": key, "name": spec.dataset}).scalar()
    return submit(SYNTHESIZE, Queue.SYNTHESIS, spec, f"{key}/{overwritten}" if overwritten else key)


@app.task(name=SYNTHESIZE, bind=True)  # type: ignore[untyped-decorator]
def synthesize(task: Any, job_id: str) -> None:
    """Build the dataset of job `job_id`."""
    from workers.synthesis import dataset

    attempt.run(job_id, task.request.hostname, SynthesisSpec, dataset.synthesize, SYNTHESIZE)
