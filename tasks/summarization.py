"""Summarization: a parent job and its shards.

The parent is never claimed: it is inserted as running, counts its unfinished shards, and the commit of the last one closes it.
"""

from __future__ import annotations

import uuid
from typing import Any

from schemas.payloads import Queue, ShardSpec, SummarizationSpec
from schemas.states import JobState
from tasks.enqueue import Submitted, publish_now
from workers.app import app
from workers.database import transaction
from workers.jobs import attempt, ledger

SUMMARIZE = "summarization.summarize"
SUMMARIZE_SHARD = "summarization.summarize_shard"


def enqueue(spec: SummarizationSpec, idempotency_key: str | None = None) -> Submitted:
    """Enqueue the summaries of a selection of the ingested tweets: one parent job, and one job for each shard."""
    from workers.inference import selection

    parent = ledger.NewJob(
        kind=SUMMARIZE,
        queue=Queue.SUMMARIZATION.value,
        payload=spec,
        idempotency_key=idempotency_key or uuid.uuid4().hex,
        remaining=0,
        state=JobState.RUNNING,
    )
    with transaction() as connection:
        if not ledger.insert(connection, [parent]):
            found = ledger.find_by_key(connection, parent.idempotency_key)
            assert found is not None
            return Submitted(job=found, new=False)
        selection.split(connection, parent.id, spec, SUMMARIZE_SHARD)
    publish_now(Queue.SUMMARIZATION)
    return Submitted(job=parent.id, new=True)


@app.task(name=SUMMARIZE_SHARD, bind=True)  # type: ignore[untyped-decorator]
def summarize_shard(task: Any, job_id: str) -> None:
    """Summarise the tweets of shard `job_id`."""
    from workers.inference import job

    attempt.run(job_id, task.request.hostname, ShardSpec, job.summarize, SUMMARIZE_SHARD)
