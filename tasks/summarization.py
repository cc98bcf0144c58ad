"""Summarization: a parent job and its shards.

The parent is never claimed: it is inserted as running, counts its unfinished shards, and the commit of the last one closes it.
"""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Connection, text

from schemas.payloads import Queue, ShardSpec, SummarizationSpec
from schemas.states import JobState
from tasks.enqueue import Submitted, publish_now
from workers.app import app
from workers.database import transaction
from workers.jobs import attempt, ledger

SUMMARIZE = "summarization.summarize"
SUMMARIZE_SHARD = "summarization.summarize_shard"

# Seeded and repeatable: the hash of seed and id orders the draw, the hash of the text the selection, so that equal tweets are neighbours.
_SELECT = """
INSERT INTO selection (job, ordinal, tweet)
SELECT :job, row_number() OVER (ORDER BY text_hash, id) - 1, id
FROM (
  SELECT id, text_hash FROM tweet
  WHERE (cast(:source AS text) IS NULL OR source = :source)
    AND (cast(:dataset AS text) IS NULL OR NOT EXISTS (
      SELECT 1 FROM example JOIN dataset ON dataset.id = example.dataset WHERE dataset.name = :dataset AND example.tweet = tweet.id))
  ORDER BY CASE WHEN cast(:limit AS bigint) IS NULL THEN NULL ELSE md5(:seed || id) END
  LIMIT :limit
) AS chosen
"""


def enqueue(spec: SummarizationSpec, idempotency_key: str | None = None) -> Submitted:
    """Ask for summaries of a selection of the ingested tweets: one job for the whole, one for each shard of it."""
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
        _split(connection, parent.id, spec)
    publish_now(Queue.SUMMARIZATION)
    return Submitted(job=parent.id, new=True)


def _split(connection: Connection, parent: uuid.UUID, spec: SummarizationSpec) -> None:
    """Store the selection, insert one job a shard, and set the parent's count."""
    values = {"job": parent, "source": spec.source, "dataset": spec.exclude_dataset, "limit": spec.limit, "seed": str(spec.seed)}
    rows = connection.execute(text(_SELECT), values).rowcount
    shards = [
        ledger.NewJob(
            kind=SUMMARIZE_SHARD,
            queue=Queue.SUMMARIZATION.value,
            payload=ShardSpec(model_id=spec.model_id, first=first, last=min(first + spec.shard_size, rows), guard=spec.guard),
            idempotency_key=f"{parent}/{first}",
            parent=parent,
        )
        for first in range(0, rows, spec.shard_size)
    ]
    ledger.insert(connection, shards)
    connection.execute(
        text(
            "UPDATE job SET remaining = :shards, "
            "progress = jsonb_build_object('total', cast(:rows AS int), 'shards', cast(:shards AS int)), "
            "state = CASE WHEN :shards = 0 THEN 'done' ELSE state END, finished_at = CASE WHEN :shards = 0 THEN now() END WHERE id = :job"
        ),
        {"job": parent, "shards": len(shards), "rows": rows},
    )


@app.task(name=SUMMARIZE_SHARD, bind=True)  # type: ignore[untyped-decorator]
def summarize_shard(task: Any, job_id: str) -> None:
    """Summarise the tweets of shard `job_id`."""
    from workers.inference import job as shards

    attempt.run(job_id, task.request.hostname, ShardSpec, shards.summarize, SUMMARIZE_SHARD)
