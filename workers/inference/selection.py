"""Splits a summarization job: stores the tweets that it selects, and inserts a job for each shard of them."""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, text

from schemas.payloads import Queue, ShardSpec, SummarizationSpec
from workers.database import insert_what_stays
from workers.jobs import fanout, ledger

# Raw: one statement stores a selection of millions. It is seeded and repeatable: the hash of seed and id orders the sample, the hash of the
# text the selection, so that equal tweets are neighbours. Without a limit there is no sample to order.
_WANTED = """
SELECT id, text_hash FROM tweet
WHERE (cast(:source AS text) IS NULL OR source = :source)
  AND (cast(:dataset AS text) IS NULL OR NOT EXISTS (
    SELECT 1 FROM example JOIN dataset ON dataset.id = example.dataset WHERE dataset.name = :dataset AND example.tweet = tweet.id))
"""
_SELECT = """
INSERT INTO selection (job, ordinal, tweet)
SELECT :job, row_number() OVER (ORDER BY text_hash, id) - 1, id FROM ({chosen}) AS chosen
"""
_SELECT_ALL = _SELECT.format(chosen=_WANTED)
_SELECT_SAMPLE = _SELECT.format(chosen=f"{_WANTED} ORDER BY md5(:seed || id) LIMIT :limit")
# A million rows take a minute, a hundred millions hours: whoever asks for so many waits for it, and may interrupt it.
_AS_LONG_AS_IT_TAKES = "SET LOCAL statement_timeout = 0"


def split(connection: Connection, parent: uuid.UUID, spec: SummarizationSpec, kind: str) -> None:
    """Store the selection of a summarization job, insert a job of `kind` for each shard, and set the parent's count of them."""
    values = {"job": parent, "source": spec.source, "dataset": spec.exclude_dataset}
    sample = {} if spec.limit is None else {"limit": spec.limit, "seed": str(spec.seed)}
    connection.execute(text(_AS_LONG_AS_IT_TAKES))
    rows = insert_what_stays(connection, _SELECT_SAMPLE if sample else _SELECT_ALL, values | sample).rowcount
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
