"""Finds the shards of a stream that have not ended, whichever start made them, without a look at those that have."""

from __future__ import annotations

from sqlalchemy import Connection, text

from schemas.payloads import Queue

# Each state by itself: so the partial indexes of jobs that wait and of those that run serve, and a job that is done is never read.
UNFINISHED = f"""
(SELECT waits.id FROM job AS waits WHERE waits.state = 'queued' AND waits.queue = '{Queue.SUMMARIZATION.value}'
 UNION ALL SELECT runs.id FROM job AS runs WHERE runs.state = 'running')
"""  # noqa: S608
"""Ids of jobs, to be joined to `stream_shard`."""

_COUNT = f"SELECT count(*) FROM {UNFINISHED} AS unfinished JOIN stream_shard ON stream_shard.job = unfinished.id WHERE stream = :stream"  # noqa: S608


def count(connection: Connection, stream: str) -> int:
    """Return how many shards of a stream wait or run."""
    return int(connection.execute(text(_COUNT), {"stream": stream}).scalar_one())
