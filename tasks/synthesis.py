"""Synthesis: check, preview and build a dataset."""

from __future__ import annotations

from typing import Any

from schemas.payloads import Queue
from schemas.synthesis import SynthesisSpec
from tasks.enqueue import Submitted, job_key, submit
from workers.app import app
from workers.catalog.examples import dataset_names
from workers.database import transaction
from workers.errors import UserError
from workers.jobs import attempt

SYNTHESIZE = "synthesis.synthesize"


def enqueue(spec: SynthesisSpec, *, tweets: int) -> Submitted:
    """Enqueue the build of a dataset. `tweets` is how many are ingested: more of them make an equal recipe a new job.

    So does another recipe that was built under the same name in between, and a teacher that left tweets without an answer: only these
    are asked about again.
    """
    key = job_key(SYNTHESIZE, spec, str(tweets))
    with transaction() as connection:
        if spec.teacher is not None:
            key = dataset_names.key_to_ask_again(connection, key)
        key = dataset_names.key_to_build(connection, key, spec.dataset)
    return submit(SYNTHESIZE, Queue.SYNTHESIS, spec, key)


def previewed(spec: SynthesisSpec, number: int) -> dict[str, Any]:
    """Return what a recipe would give. Runs in the caller: it stores nothing but a teacher's answers.

    Args:
        spec: the recipe, its files imported.
        number: examples of each origin, and tweets to ask a teacher about.

    Raises:
        UserError: the recipe can't be built, or needs what is not installed here; says which extra brings it.
    """
    from workers.synthesis.preview.recipe import preview

    return preview(spec, number)


def check(spec: SynthesisSpec) -> list[str]:
    """Check a recipe before a job is enqueued; return notes on what is no obstacle but should be known.

    Raises:
        UserError: its sources can't give what it asks for; names all of it.
    """
    from workers.synthesis import preflight

    with transaction() as connection:
        _, reasons, notes = preflight.checked(connection, spec)
    if reasons:
        raise UserError(preflight.refusal(spec.dataset, reasons))
    return notes


@app.task(name=SYNTHESIZE, bind=True)  # type: ignore[untyped-decorator]
def synthesize(task: Any, job_id: str) -> None:
    """Build the dataset of job `job_id`."""
    from workers.synthesis import job

    attempt.run(job_id, task.request.hostname, SynthesisSpec, job.synthesize, SYNTHESIZE)
