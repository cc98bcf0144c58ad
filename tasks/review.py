"""Review: open a dataset for review, check a text as it is typed, and build the reviewed dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from schemas.payloads import Queue, ReviewedSpec, Stage
from tasks.enqueue import Submitted, job_key, submit
from workers import database
from workers.app import app
from workers.catalog import datasets
from workers.catalog.examples import dataset_names
from workers.errors import UserError
from workers.jobs import attempt

if TYPE_CHECKING:
    from workers.review.queue import Opened

APPLY = "review.apply"


def open_review(dataset: int, on_progress: Callable[[int, int], None]) -> Opened:
    """Rank a dataset's examples for review, unless they are ranked. Runs in the caller: a reviewer may have no worker.

    Args:
        dataset: its id.
        on_progress: called with the number of rows that are ranked, and of all.
    """
    from workers.review import queue

    with database.session() as session:
        return queue.open_review(session, dataset, on_progress)


def objections(prompt: str, target: str, stage: str) -> tuple[str, ...]:
    """Return what the checks find wrong with a target, in words."""
    from workers.review import ranking

    return ranking.objections(prompt, target, Stage(stage))


def enqueue_apply(name: str, new_name: str) -> Submitted:
    """Enqueue the build of the reviewed dataset of `name`; the same verdicts are one job.

    Raises:
        NotFound: there is no dataset of this name.
        UserError: nobody has reviewed it.
    """
    from workers.review import queries

    with database.session() as session:
        dataset = datasets.resolve(session, name)
        verdicts = queries.verdicts_digest(session, dataset.id)
        if verdicts is None:
            raise UserError(f"dataset {name}: no example is reviewed yet. `tweetmill review {name}` does that")
        spec = ReviewedSpec(dataset=name, name=new_name)
        key = job_key(APPLY, spec, dataset.fingerprint, verdicts)
        key = dataset_names.key_to_build(session.connection(), key, new_name)
    return submit(APPLY, Queue.SYNTHESIS, spec, key)


@app.task(name=APPLY, bind=True)  # type: ignore[untyped-decorator]
def apply_review(task: Any, job_id: str) -> None:
    """Build the dataset of job `job_id`."""
    from workers.review import apply

    attempt.run(job_id, task.request.hostname, ReviewedSpec, apply.apply_review, APPLY)
