"""Summaries, streamed out of Postgres in constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

COLUMNS = ("tweet", "text", "cleaned", "summary", "flags", "tries", "model", "prompt_version", "worker")
"""The fields of a row, in the order of a table."""

_FIELDS = """
SELECT tweet.id AS tweet, tweet.text, summary.cleaned, summary.summary, summary.flags, summary.tries, model.name AS model,
       summary.prompt_version, summary.worker
"""
_ALL = f"""{_FIELDS}
FROM summary JOIN tweet ON tweet.id = summary.tweet JOIN model ON model.id = summary.model
WHERE cast(:model AS bigint) IS NULL OR summary.model = :model
ORDER BY summary.tweet, summary.model, summary.prompt_version
LIMIT :limit
"""
# A job's rows are those of its selection, whoever computed them: what an earlier job had done was not done again.
_OF_JOB = f"""{_FIELDS}
FROM job AS asked
JOIN selection ON selection.job = coalesce(asked.parent, asked.id)
  AND (asked.parent IS NULL
       OR selection.ordinal >= (asked.payload->>'first')::bigint AND selection.ordinal < (asked.payload->>'last')::bigint)
CROSS JOIN LATERAL (
  SELECT * FROM summary AS any_version
  WHERE any_version.tweet = selection.tweet AND any_version.model = (asked.payload->>'model_id')::bigint
  ORDER BY any_version.created_at DESC, any_version.prompt_version DESC LIMIT 1) AS summary
JOIN tweet ON tweet.id = summary.tweet JOIN model ON model.id = summary.model
WHERE asked.id = :job AND (cast(:model AS bigint) IS NULL OR summary.model = :model)
ORDER BY selection.ordinal
LIMIT :limit
"""  # noqa: S608
_ROWS_AT_ONCE = 1000


def stream(
    connection: Connection, *, job: UUID | None = None, model: int | None = None, limit: int | None = None
) -> Iterator[dict[str, Any]]:
    """Rows with the fields of `COLUMNS`.

    Args:
        connection: one whose transaction stays open while the rows are read.
        job: only the tweets of this summarization job, or of this shard, in the order of its selection.
        model: only this model's.
        limit: at most so many.
    """
    # Who reads may pause for as long as they like.
    connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    values = {"model": model, "limit": limit} | ({"job": job} if job else {})
    rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(text(_OF_JOB if job else _ALL), values)
    for row in rows:
        yield dict(row._mapping)
