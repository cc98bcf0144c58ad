"""A shard: the tweets of a slice of a selection, summarised and stored as they come.

Rows that exist are never computed again, so an attempt that follows a killed one goes on where the rows end. Equal tweets are
neighbours in the selection and are computed once.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from schemas.payloads import ShardSpec, Stage
from workers.catalog import models
from workers.database import session_on, transaction
from workers.inference.engine import Engine
from workers.inference.engines import get_engine
from workers.inference.guard import Guarded, guarded, unguarded
from workers.jobs.context import JobContext, Outcome
from workers.text.clean import rules
from workers.text.instructions import PROMPT_VERSION

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
        engine = engine or get_engine(model.base)
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


# The summary of a tweet with the same text serves for this one too.
_COPY = """
INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, flags, tries, job, attempt, worker)
SELECT DISTINCT ON (tweet.id) tweet.id, known.model, known.prompt_version, known.cleaned, known.summary, known.flags, known.tries,
       :job, :attempt, :worker
FROM selection
JOIN tweet ON tweet.id = selection.tweet
JOIN tweet AS twin ON twin.text_hash = tweet.text_hash AND twin.id <> tweet.id
JOIN summary AS known ON known.tweet = twin.id AND known.model = :model AND known.prompt_version = :version
WHERE selection.job = :parent AND selection.ordinal >= :first AND selection.ordinal < :last
ORDER BY tweet.id
ON CONFLICT DO NOTHING
"""


def _copy_known(connection: Connection, attempt: JobContext, spec: ShardSpec) -> int:
    values = _slice(attempt, spec) | {"job": attempt.job, "attempt": attempt.number, "worker": attempt.owner}
    return connection.execute(text(_COPY), values).rowcount


_WANTED = """
SELECT tweet.id, tweet.text
FROM selection JOIN tweet ON tweet.id = selection.tweet
WHERE selection.job = :parent AND selection.ordinal >= :first AND selection.ordinal < :last
  AND NOT EXISTS (SELECT 1 FROM summary WHERE summary.tweet = tweet.id AND summary.model = :model AND summary.prompt_version = :version)
"""


def _wanted(connection: Connection, attempt: JobContext, spec: ShardSpec) -> Iterator[_Wanted]:
    bearers: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(text(_WANTED), _slice(attempt, spec)):
        bearers[row.text].append(row.id)
    for tweet_text, ids in bearers.items():
        yield _Wanted(text=tweet_text, tweets=tuple(sorted(ids)))


def _slice(attempt: JobContext, spec: ShardSpec) -> dict[str, Any]:
    parent: UUID | None = attempt.parent
    return {"parent": parent, "first": spec.first, "last": spec.last, "model": spec.model_id, "version": PROMPT_VERSION}


_STORE = """
INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, flags, tries, tokens_in, tokens_out, job, attempt, worker)
SELECT row.tweet, :model, :version, row.cleaned, row.summary, row.flags, row.tries, row.tokens_in, row.tokens_out,
       :job, :attempt, :worker
FROM jsonb_to_recordset(cast(:rows AS jsonb))
  AS row(tweet text, cleaned text, summary text, flags jsonb, tries int, tokens_in int, tokens_out int)
JOIN tweet ON tweet.id = row.tweet
ON CONFLICT DO NOTHING
"""


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
    return connection.execute(text(_STORE), values | {"worker": attempt.owner, "rows": json.dumps(rows)}).rowcount
