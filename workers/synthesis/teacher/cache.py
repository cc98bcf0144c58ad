"""What teachers answered, in the table `teaching`: an answer that stands there is never asked for again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from workers.synthesis.teacher.clients import Answer, Asked


@dataclass(frozen=True)
class Spent:
    """What a job has asked so far, its earlier attempts included. `seconds` leaves out the time in which nobody asked."""

    asked: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(
            self.asked + other.asked,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class Stored:
    """A row of `teaching`; `job` asked for it, None for a preview."""

    answers: tuple[str, ...]
    error: str | None
    tokens_in: int
    tokens_out: int
    job: UUID | None = None


_KNOWN = "SELECT fingerprint, answers, error, tokens_in, tokens_out, job FROM teaching WHERE fingerprint = ANY(:fingerprints)"
_UNKNOWN_TEXTS = "SELECT id, text FROM tweet WHERE id = ANY(:ids)"
# A tweet that was deleted since has no row to belong to. An answer that stands is never replaced, a refusal is: somebody asked again.
_STORE = """
INSERT INTO teaching (fingerprint, tweet, model, prompt_sha256, answers, error, tokens_in, tokens_out, seconds, job)
SELECT row.fingerprint, row.tweet, row.model, row.prompt, row.answers, row.error, row.tokens_in, row.tokens_out, row.seconds, :job
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(fingerprint text, tweet text, model text, prompt text, answers jsonb, error text, tokens_in int, tokens_out int, seconds float8)
JOIN tweet ON tweet.id = row.tweet
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


_MOST_TOKENS = 2**31 - 1  # what the column holds


def texts(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """The texts of tweets by id; one that is gone is left out."""
    return {row.id: row.text for row in connection.execute(text(_UNKNOWN_TEXTS), {"ids": list(ids)})}


def known(connection: Connection, fingerprints: Sequence[str]) -> dict[str, Stored]:
    """What is stored of these."""
    rows = connection.execute(text(_KNOWN), {"fingerprints": list(fingerprints)})
    return {row.fingerprint: Stored(tuple(row.answers), row.error, row.tokens_in, row.tokens_out, row.job) for row in rows}


def store(connection: Connection, job: UUID | None, model: str, answered: Sequence[tuple[Asked, Answer]]) -> None:
    """Store answers, and errors that will stay. What another job stored meanwhile stands."""
    # One prompt may have been asked twice, in two jobs or by an order to ask again: a statement can't update a row twice.
    rows = {asked.fingerprint: _row(asked, answer) | {"model": model} for asked, answer in answered}
    connection.execute(text(_STORE), {"job": job, "rows": json.dumps(list(rows.values()))})


def spent(connection: Connection, job: UUID | None, first: int | None = None) -> Spent:
    """What a job has asked, or what its first answers took."""
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
        "tokens_in": min(answer.tokens_in, _MOST_TOKENS),
        "tokens_out": min(answer.tokens_out, _MOST_TOKENS),
        "seconds": answer.seconds,
    }
