"""Reads and stores what teachers answered, in the table `teaching`: a stored answer is never asked for again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text
from sqlmodel import Session, col, select

from schemas.tables.datasets import Teaching
from schemas.tables.tweets import Tweet
from workers.database import insert_what_stays
from workers.synthesis.teacher.clients import Answer, Asked


@dataclass(frozen=True)
class Spent:
    """Tokens and seconds of a job's answers, its earlier attempts included. `seconds` leaves out the time in which nothing was asked."""

    asked: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        """Return the sum."""
        return Spent(
            self.asked + other.asked,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.seconds + other.seconds,
        )


# A tweet that was forgotten since has no row to belong to. An answer that stands is never replaced, a refusal is: somebody asked again.
_STORE = """
INSERT INTO teaching (fingerprint, tweet, model, prompt_sha256, answers, error, tokens_in, tokens_out, seconds, job)
SELECT row.fingerprint, row.tweet, row.model, row.prompt, row.answers, row.error, row.tokens_in, row.tokens_out, row.seconds, :job
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(fingerprint text, tweet text, model text, prompt text, answers jsonb, error text, tokens_in int, tokens_out int, seconds float8)
JOIN tweet ON tweet.id = row.tweet
ORDER BY row.tweet
ON CONFLICT (fingerprint) DO UPDATE
SET answers = excluded.answers, error = excluded.error, tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out,
    seconds = excluded.seconds, job = excluded.job, answered_at = now()
WHERE jsonb_array_length(teaching.answers) = 0
"""
# In a gap longer than the answer itself took nobody asked: the worker was down.
_SPENT = """
SELECT count(*) AS asked, coalesce(sum(tokens_in), 0) AS tokens_in, coalesce(sum(tokens_out), 0) AS tokens_out,
       coalesce(sum(least(apart, seconds + 1)), 0)::float8 AS seconds
FROM (
  SELECT tokens_in, tokens_out, seconds,
         coalesce(extract(epoch FROM answered_at - lag(answered_at) OVER (ORDER BY answered_at, fingerprint)), seconds)::float8 AS apart
  FROM teaching WHERE job = :job
  ORDER BY answered_at, fingerprint LIMIT :first
) AS ours
"""


_MAX_TOKENS = 2**31 - 1  # what the column holds


def texts(session: Session, ids: Sequence[str]) -> dict[str, str]:
    """Return the texts of tweets by id; one that is gone is left out."""
    return dict(session.exec(select(Tweet.id, Tweet.text).where(col(Tweet.id).in_(ids))).all())


def known(session: Session, fingerprints: Sequence[str]) -> dict[str, Teaching]:
    """Return the stored answers by fingerprint; one that is not stored is left out."""
    rows = session.exec(select(Teaching).where(col(Teaching.fingerprint).in_(fingerprints)))
    return {row.fingerprint: row for row in rows}


def store(connection: Connection, job: UUID | None, model: str, answered: Sequence[tuple[Asked, Answer]]) -> None:
    """Store answers and lasting errors. An answer that another job stored meanwhile is kept."""
    # One prompt may have been asked twice, in two jobs or by an order to ask again: a statement can't update a row twice.
    rows = {asked.fingerprint: _row(asked, answer) | {"model": model} for asked, answer in answered}
    insert_what_stays(connection, _STORE, {"job": job, "rows": json.dumps(list(rows.values()))})


def spent(connection: Connection, job: UUID | None, first: int | None = None) -> Spent:
    """Return the sums of a job's answers, or of its first `first` ones."""
    row = connection.execute(text(_SPENT), {"job": job, "first": first}).one()
    return Spent(int(row.asked), int(row.tokens_in), int(row.tokens_out), float(row.seconds))


def _row(asked: Asked, answer: Answer) -> dict[str, object]:
    return {
        "fingerprint": asked.fingerprint,
        "tweet": asked.tweet_id,
        "prompt": asked.prompt.prompt_sha256,
        # Postgres's JSON knows no NUL, which a model of ours may write.
        "answers": [candidate.replace("\0", "") for candidate in answer.texts],
        "error": answer.error,
        "tokens_in": min(answer.tokens_in, _MAX_TOKENS),
        "tokens_out": min(answer.tokens_out, _MAX_TOKENS),
        "seconds": answer.seconds,
    }
