"""Runs one shard of a summarization job: summarises the tweets of a slice of the selection and stores the summaries as they come.

Rows that exist are never computed again, so an attempt that follows a killed one continues where the rows end. Equal tweets are
neighbours in the selection and are computed once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, exists, text
from sqlmodel import col, select

from schemas.payloads import ShardSpec, Stage
from schemas.tables.summaries import Selection, Summary
from schemas.tables.tweets import Tweet
from workers.catalog import models
from workers.database import session_on, transaction
from workers.inference.engine import Engine
from workers.inference.engines import engine_for
from workers.inference.guard import Guarded, guarded, unguarded
from workers.jobs.context import JobContext, Outcome
from workers.text.clean import rules
from workers.text.instructions import PROMPT_VERSION

# A tweet with the same text as one that has a summary gets a copy of it.
COPY_TO_DUPLICATES = """
INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, flags, tries, job, attempt, worker)
SELECT DISTINCT ON (tweet.id) tweet.id, known.model, known.prompt_version, known.cleaned, known.summary, known.flags, known.tries,
       :job, :attempt, :worker
FROM selection
JOIN tweet ON tweet.id = selection.tweet
JOIN tweet AS duplicate ON duplicate.text_hash = tweet.text_hash AND duplicate.id <> tweet.id
JOIN summary AS known ON known.tweet = duplicate.id AND known.model = :model AND known.prompt_version = :version
WHERE selection.job = :parent AND selection.ordinal >= :first AND selection.ordinal < :last
ORDER BY tweet.id
ON CONFLICT DO NOTHING
"""
INSERT_SUMMARIES = """
INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, flags, tries, tokens_in, tokens_out, job, attempt, worker)
SELECT row.tweet, :model, :version, row.cleaned, row.summary, row.flags, row.tries, row.tokens_in, row.tokens_out,
       :job, :attempt, :worker
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(tweet text, cleaned text, summary text, flags jsonb, tries int, tokens_in int, tokens_out int)
JOIN tweet ON tweet.id = row.tweet
ON CONFLICT DO NOTHING
"""

# Tweets between two flushes: a few seconds of work on a CPU, so that a killed worker loses no more than that.
_FLUSH = 32


@dataclass(frozen=True)
class _Wanted:
    """One text and the tweets that bear it."""

    text: str
    tweets: tuple[str, ...]


def summarize(attempt: JobContext, spec: ShardSpec) -> Outcome:
    """Summarise the tweets of this shard that have no summary yet."""
    with transaction() as connection, session_on(connection) as session:
        model = models.by_id(session, spec.model_id)
        copied = _copy_known(connection, attempt, spec)
        wanted = list(_wanted(connection, attempt, spec))
    total = spec.last - spec.first
    missing = sum(len(row.tweets) for row in wanted)
    done = total - missing
    attempt.progress(done=done, total=total)
    stage = Stage(model.stage)
    counts: dict[str, int] = defaultdict(int)
    wanted.sort(key=lambda row: len(row.text))
    engine: Engine | None = None
    for start in range(0, len(wanted), _FLUSH):
        attempt.check()
        engine = engine or engine_for(model.base)
        part = wanted[start : start + _FLUSH]
        texts = [row.text for row in part]
        write = guarded if spec.guard else unguarded
        results = write(engine, texts, model.adapter, stage, on_progress=lambda _: attempt.check())
        with attempt.flush() as connection:
            done += _store(connection, attempt, spec.model_id, part, results)
        counts["fallbacks"] += sum("fallback" in result.flags for result in results)
        counts["retried"] += sum(result.tries > 1 for result in results)
        attempt.progress(done=done, total=total)
    return Outcome(result={"rows": missing, "copied": copied, "reused": total - missing - copied, **counts})


def _copy_known(connection: Connection, attempt: JobContext, spec: ShardSpec) -> int:
    values = _slice(attempt, spec) | {"job": attempt.job, "attempt": attempt.number, "worker": attempt.owner}
    return connection.execute(text(COPY_TO_DUPLICATES), values).rowcount


def _wanted(connection: Connection, attempt: JobContext, spec: ShardSpec) -> Iterator[_Wanted]:
    bearers: dict[str, list[str]] = defaultdict(list)
    has_summary = exists().where(
        col(Summary.tweet) == col(Tweet.id), col(Summary.model) == spec.model_id, col(Summary.prompt_version) == PROMPT_VERSION
    )
    missing = (
        select(Tweet.id, Tweet.text)
        .join(Selection, col(Selection.tweet) == col(Tweet.id))
        .where(Selection.job == attempt.parent, Selection.ordinal >= spec.first, Selection.ordinal < spec.last, ~has_summary)
    )
    with session_on(connection) as opened:
        for tweet, tweet_text in opened.exec(missing):
            bearers[tweet_text].append(tweet)
    for tweet_text, ids in bearers.items():
        yield _Wanted(text=tweet_text, tweets=tuple(sorted(ids)))


def _slice(attempt: JobContext, spec: ShardSpec) -> dict[str, Any]:
    parent: UUID | None = attempt.parent
    return {"parent": parent, "first": spec.first, "last": spec.last, "model": spec.model_id, "version": PROMPT_VERSION}


def _store(connection: Connection, attempt: JobContext, model: int, part: Sequence[_Wanted], results: Sequence[Guarded]) -> int:
    rows = [
        # A byte-level model may write NUL, the one character that Postgres can't store.
        {"tweet": tweet, "cleaned": rules(wanted.text), "summary": result.text.replace("\0", "")}
        | {"flags": list(result.flags), "tries": result.tries}
        | {"tokens_in": result.tokens_in, "tokens_out": result.tokens_out}
        for wanted, result in zip(part, results, strict=True)
        for tweet in wanted.tweets
    ]
    values = {"model": model, "version": PROMPT_VERSION, "job": attempt.job, "attempt": attempt.number}
    return connection.execute(text(INSERT_SUMMARIES), values | {"worker": attempt.owner, "rows": json.dumps(rows)}).rowcount
