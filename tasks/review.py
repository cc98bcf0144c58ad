"""Review: make a dataset wait for it, judge a text as it is typed, and build the dataset that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from schemas.payloads import Queue, ReviewedSpec, Stage
from tasks.enqueue import Submitted, fingerprint, submit
from workers.app import app
from workers.catalog import dataset_names, datasets
from workers.database import transaction
from workers.errors import UserError
from workers.jobs import attempt

if TYPE_CHECKING:
    from workers.review.queue import Opened

APPLY = "review.apply"

# Whatever order they were given in: what matters is what is said.
_SAID = """
SELECT coalesce(sum(hashtextextended(concat_ws(' ', key, verdict, reviewer, target_text), 0)), 0)::text FROM review
WHERE dataset = :dataset AND verdict IN ('accepted', 'edited', 'rejected')
"""


def open_review(dataset: int, told: Callable[[int, int], None]) -> Opened:
    """Rank a dataset's examples and let them wait for review, unless they do: here and now, since a reviewer may have no worker.

    Args:
        dataset: its id.
        told: hears how many rows are ranked, of how many.
    """
    from workers.review import queue as opening

    with transaction() as connection:
        return opening.open_review(connection, dataset, told)


def objections(prompt: str, target: str, stage: str) -> tuple[str, ...]:
    """What the checks say against a target, in words."""
    from workers.review import ranking

    return ranking.objections(prompt, target, Stage(stage))


def enqueue_apply(name: str, new_name: str) -> Submitted:
    """Ask for the dataset that the review of `name` makes; the same verdicts are one job.

    Raises:
        NotFound: there is no dataset of this name.
        UserError: nobody has reviewed it.
    """
    with transaction() as connection:
        dataset = datasets.resolve(connection, name)
        said = connection.execute(text(_SAID), {"dataset": dataset.id}).scalar_one()
    if said == "0":
        raise UserError(f"dataset {name}: no example is reviewed yet. `tweetmill review {name}` does that")
    spec = ReviewedSpec(dataset=name, name=new_name)
    key = fingerprint(APPLY, spec, dataset.fingerprint, said)
    with transaction() as connection:
        key = dataset_names.key_to_build(connection, key, new_name)
    return submit(APPLY, Queue.SYNTHESIS, spec, key)


@app.task(name=APPLY, bind=True)  # type: ignore[untyped-decorator]
def apply_review(task: Any, job_id: str) -> None:
    """Build the dataset of job `job_id`."""
    from workers.review import apply as reviewed

    attempt.run(job_id, task.request.hostname, ReviewedSpec, reviewed.apply_review, APPLY)
