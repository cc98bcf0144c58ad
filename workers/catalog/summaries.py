"""Reads summaries as a stream in constant memory, and counts those of a job."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, text, true
from sqlalchemy.dialects.postgresql import distinct_on
from sqlmodel import Session, and_, col, desc, select

from schemas.states import JobState
from schemas.tables.datasets import Example
from schemas.tables.jobs import Job
from schemas.tables.models import Model
from schemas.tables.summaries import Selection, Summary
from schemas.tables.tweets import Tweet

EXPORT_COLUMNS = ("tweet", "text", "cleaned", "summary", "flags", "tries", "model", "prompt_version", "worker")
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
# A job's rows are those of its selection, whoever computed them: what an earlier job had done was not done again. Each by the model of the
# shard that it is in; a later version of a tweet is in a second shard, which is the one that counts.
_OF_JOB = f"""
WITH shard AS (
  SELECT parent AS whole, payload FROM job WHERE parent = :job
  UNION ALL SELECT parent, payload FROM job WHERE id = :job AND parent IS NOT NULL),
part AS (
  SELECT whole, (payload->>'first')::bigint AS first, (payload->>'last')::bigint AS last, (payload->>'model_id')::bigint AS model
  FROM shard WHERE cast(:model AS bigint) IS NULL OR (payload->>'model_id')::bigint = :model)
{_FIELDS}
FROM part
JOIN selection ON selection.job = part.whole AND selection.ordinal >= part.first AND selection.ordinal < part.last
CROSS JOIN LATERAL (
  SELECT * FROM summary AS any_version WHERE any_version.tweet = selection.tweet AND any_version.model = part.model
  ORDER BY any_version.created_at DESC, any_version.prompt_version DESC LIMIT 1) AS summary
JOIN tweet ON tweet.id = summary.tweet JOIN model ON model.id = summary.model
WHERE NOT EXISTS (
  SELECT FROM selection AS later
  WHERE later.tweet = selection.tweet AND later.job = selection.job AND later.ordinal > selection.ordinal)
ORDER BY part.first, selection.ordinal
LIMIT :limit
"""  # noqa: S608
_COUNTS = """
SELECT count(*) AS rows, count(DISTINCT summary.worker) AS workers, count(*) FILTER (WHERE summary.flags ? 'fallback') AS fallbacks,
       count(*) FILTER (WHERE summary.tries > 1) AS retried
FROM selection JOIN summary ON summary.tweet = selection.tweet AND summary.model = :model WHERE selection.job = :job
"""
NO_IDLE_TIMEOUT = "SET LOCAL idle_in_transaction_session_timeout = 0"
"""For a transaction whose rows are read as they are asked for: who reads may pause for as long as they like."""

_ROWS_AT_ONCE = 1000
_SUMMARIZE = "summarization.summarize"
_LONG = 60  # characters


def stream(session: Session, *, job: UUID | None = None, model: int | None = None, limit: int | None = None) -> Iterator[dict[str, Any]]:
    """Yield summaries as rows with the fields of `COLUMNS`.

    Args:
        session: one that stays open while the rows are read.
        job: only the tweets of this summarization job, or of this shard, in the order of its selection.
        model: only this model's.
        limit: rows at most.
    """
    connection = session.connection()
    connection.execute(text(NO_IDLE_TIMEOUT))
    values = {"model": model, "limit": limit} | ({"job": job} if job else {})
    rows = connection.execute(text(_OF_JOB if job else _ALL), values, execution_options={"yield_per": _ROWS_AT_ONCE})
    for row in rows:
        yield dict(row._mapping)


def counts(session: Session, job: UUID, model: int) -> dict[str, int]:
    """Count the summaries of a job's tweets by a model, the workers that wrote them, the fallbacks, and those that took several tries."""
    return dict(session.connection().execute(text(_COUNTS), {"job": job, "model": model}).one()._mapping)


def newest_job(session: Session) -> Job | None:
    """Return the newest summarisation that is done."""
    query = select(Job).where(Job.kind == _SUMMARIZE, Job.state == JobState.DONE)
    return session.exec(query.order_by(desc(col(Job.created_at))).limit(1)).first()


def of_held_back(session: Session, dataset: int, model: int, limit: int) -> list[dict[str, str]]:
    """Return tweets that a dataset holds back, once each, with what a model wrote of them last, where that is stored.

    `wanted` is the reference of the stage that the model was taught: a dataset may hold a clean text of the same tweet too.
    """
    chosen = (
        select(Example.key, col(Example.prompt_text).label("tweet"), col(Example.target_text).label("wanted"))
        .join(Model, and_(col(Model.id) == model, col(Model.stage) == Example.stage))
        .where(Example.dataset == dataset, Example.split == "test", col(Example.tweet).is_not(None))
        .add_columns(col(Example.tweet).label("id"))
        .ext(distinct_on(col(Example.tweet)))
        .order_by(col(Example.tweet), col(Example.key))
        .subquery()
    )
    wrote = _written_last(chosen.c.id, model)
    query = select(chosen.c.tweet, chosen.c.wanted, wrote.c.summary).join(wrote, true()).order_by(chosen.c.key)
    return [{"tweet": tweet, "wanted": wanted, "wrote": summary} for tweet, wanted, summary in session.exec(query.limit(limit))]


def of_tweets(session: Session, tweets: Sequence[str], model: int | None) -> dict[str, tuple[str, str | None]]:
    """Return each tweet's text, and what a model wrote of it last; None where it wrote nothing. Tweets that are gone are left out."""
    wrote = _written_last(col(Tweet.id), model if model is not None else 0)
    query = select(Tweet.id, Tweet.text, wrote.c.summary).join(wrote, true(), isouter=True).where(col(Tweet.id).in_(tweets))
    return {tweet: (tweet_text, summary) for tweet, tweet_text, summary in session.exec(query)}


def of_long_tweets(session: Session, job: UUID, model: int, limit: int) -> Sequence[tuple[str, str]]:
    """Return tweets of more than 60 characters with their summaries, in the order of the job's selection."""
    wrote = _written_last(col(Selection.tweet), model)
    query = (
        select(Tweet.text, wrote.c.summary)
        .join(Selection, col(Selection.tweet) == Tweet.id)
        .join(wrote, true())
        .where(Selection.job == job, func.length(Tweet.text) > _LONG)
    )
    return session.exec(query.order_by(col(Selection.ordinal)).limit(limit)).all()


def _written_last(tweet: Any, model: int) -> Any:
    """Select what a model wrote last of a tweet of the query around it: there may be a summary for each version of its prompt."""
    written = select(Summary.summary).where(Summary.tweet == tweet, Summary.model == model)
    return written.order_by(desc(col(Summary.created_at)), desc(col(Summary.prompt_version))).limit(1).lateral()
