"""Splits a summarization job: stores the tweets that it selects, and inserts a job for each shard of them."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection

from schemas.payloads import Queue, ShardSpec, SummarizationSpec
from workers.database import insert_what_stays
from workers.jobs import fanout, ledger

# Raw: one statement stores a selection of millions. It is seeded and repeatable: the hash of seed and id orders the sample, the hash of the
# text the selection, so that equal tweets are neighbours.
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


def split(connection: Connection, parent: uuid.UUID, spec: SummarizationSpec, kind: str) -> None:
    """Store the selection of a summarization job, insert a job of `kind` for each shard, and set the parent's count of them."""
    values = {"job": parent, "source": spec.source, "dataset": spec.exclude_dataset, "limit": spec.limit, "seed": str(spec.seed)}
    rows = insert_what_stays(connection, _SELECT, values).rowcount
    shards = [
        ledger.NewJob(
            kind=kind,
            queue=Queue.SUMMARIZATION.value,
            payload=ShardSpec(model_id=spec.model_id, first=first, last=min(first + spec.shard_size, rows), guard=spec.guard),
            idempotency_key=f"{parent}/{first}",
            parent=parent,
        )
        for first in range(0, rows, spec.shard_size)
    ]
    ledger.insert(connection, shards)
    fanout.open_parent(connection, parent, shards=len(shards), rows=rows)
