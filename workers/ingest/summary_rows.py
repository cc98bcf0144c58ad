"""Stores summaries, whoever wrote them: a worker, an earlier job of an equal tweet, an engine elsewhere.

A summary belongs to the text that its writer read. Where a later version of the tweet has taken that text's place since, it is not
stored, whatever happens at the same moment.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sqlalchemy import Connection, text

from workers.database import insert_what_stays

# Raw: one statement inserts what a shard has written in some seconds. In the order of the ids, for their tweets are locked by the check of
# the foreign key: two that store the same ones wait for each other instead of dying of a deadlock.
_INSERT = """
INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, flags, tries, tokens_in, tokens_out, job, attempt, worker)
SELECT row.tweet, :model, row.version, row.cleaned, row.summary, row.flags, row.tries, row.tokens_in, row.tokens_out,
       :job, :attempt, :worker
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(tweet text, text_hash text, version text, cleaned text, summary text, flags jsonb, tries int, tokens_in int, tokens_out int)
JOIN tweet ON tweet.id = row.tweet AND tweet.text_hash = row.text_hash
ORDER BY row.tweet, row.version
ON CONFLICT DO NOTHING
RETURNING tweet
"""
# The statement's snapshot may be older than its locks. What these hold can't change any more.
_CHANGED = """
SELECT EXISTS (
  SELECT FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row(tweet text, text_hash text) JOIN tweet ON tweet.id = row.tweet
  WHERE tweet.id = ANY(:stored) AND tweet.text_hash <> row.text_hash)
"""


@dataclass(frozen=True)
class SummaryRow:
    """A summary of a tweet.

    Attributes:
        tweet: its id.
        text_hash: of the text that was summarised, as the tweet's row has it.
        version: of the prompt.
        cleaned: the text as the rules clean it.
        summary: what was written.
        flags: what the guard says of it.
        tries: after how many answers.
        tokens_in: that the model read.
        tokens_out: that it wrote.
    """

    tweet: str
    text_hash: str
    version: str
    cleaned: str
    summary: str
    flags: Sequence[str] = field(default=())
    tries: int = 1
    tokens_in: int = 0
    tokens_out: int = 0


class _TextChanged(Exception):
    """A tweet got a later text between a statement's snapshot and its locks."""


def insert_summaries(
    connection: Connection, rows: Sequence[SummaryRow], *, model: int, worker: str, job: uuid.UUID | None = None, attempt: int = 0
) -> int:
    """Store the summaries whose tweets are there with the text that was summarised and that have none yet; return how many.

    Args:
        connection: in a transaction.
        rows: at least one.
        model: that wrote them.
        worker: who says so.
        job: the shard.
        attempt: of that job.
    """
    written = json.dumps([asdict(row) for row in rows])
    values = {"rows": written, "model": model, "worker": worker, "job": job, "attempt": attempt}
    while True:
        try:
            with connection.begin_nested():
                stored = list(insert_what_stays(connection, _INSERT, values).scalars())
                if stored and connection.execute(text(_CHANGED), {"rows": written, "stored": stored}).scalar_one():
                    raise _TextChanged
                return len(stored)
        except _TextChanged:
            continue  # the next statement sees the later text, and passes over the tweet
