"""Reads what a drift is looked for in: the newest tweets, what a model learnt from, and what the guard said of its summaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from schemas.payloads import DriftSpec
from schemas.tables.datasets import Dataset
from schemas.tables.models import Model
from workers.catalog import chains, datasets, evaluations, models
from workers.errors import UserError
from workers.text.checks import SERIOUS

SAMPLE_SIZE = 5000
"""Texts that a model learnt from that are compared: shares settle long before."""

BUCKETS = 24
"""Stretches of time, of equally many summaries, in which the guard's flags are counted."""

# Raw: samples by hash. Of equal texts one is read, and of a dataset's clusters one text each: copies are no evidence of their own.
_NEW = """
  (cast(:hours AS float) IS NULL OR received_at > now() - make_interval(secs => 3600 * cast(:hours AS float)))
  AND NOT EXISTS (SELECT 1 FROM example WHERE example.dataset = :dataset AND example.tweet = tweet.id)
"""
_NEWEST = f"""
WITH newest AS (
  SELECT id, text, text_hash FROM tweet WHERE (cast(:source AS text) IS NULL OR source = :source) AND {_NEW}
  ORDER BY received_at DESC, id LIMIT :last)
"""  # noqa: S608
_NEWEST_OF_STREAM = f"""
WITH newest AS (
  SELECT id, text, text_hash FROM arrival JOIN tweet ON tweet.id = arrival.tweet WHERE arrival.stream = :stream AND {_NEW}
  ORDER BY arrival.ordinal DESC LIMIT :last)
"""  # noqa: S608
_INCOMING = """
SELECT DISTINCT ON (text_hash) id, text, EXISTS (SELECT 1 FROM curated WHERE curated.key = newest.id) AS paired
FROM newest ORDER BY text_hash, id
"""
_LEARNT = """
SELECT prompt_text FROM (
  SELECT DISTINCT ON (cluster) prompt_text, key FROM example
  WHERE dataset = :dataset AND split = 'train' AND (cast(:stage AS text) IS NULL OR stage = :stage)
  ORDER BY cluster, md5(:seed || key)
) AS one ORDER BY md5(:seed || key) LIMIT :most
"""
_GUARDED = """
WITH written AS (
  SELECT DISTINCT ON (tweet) tweet, flags, tries, created_at FROM summary WHERE model = :model AND tweet = ANY(:tweets)
  ORDER BY tweet, created_at DESC),
placed AS (SELECT *, ntile(:buckets) OVER (ORDER BY created_at, tweet) AS bucket FROM written WHERE NOT flags ? 'wordless')
SELECT bucket, min(created_at) AS since, count(*) AS n, count(*) FILTER (WHERE flags ? 'fallback') AS fallbacks,
       count(*) FILTER (WHERE tries > 1) AS retried, count(*) FILTER (WHERE flags ?| cast(:serious AS text[])) AS flagged
FROM placed GROUP BY bucket ORDER BY bucket
"""


@dataclass(frozen=True)
class Incoming:
    """A tweet that came in; `paired` where somebody wrote a pair for it already."""

    id: str
    text: str
    paired: bool


@dataclass(frozen=True)
class Counted:
    """So many of `n` rows."""

    count: int
    n: int


@dataclass(frozen=True)
class Guarded:
    """What the guard did: to the summaries of incoming tweets, and when the model was evaluated; over time for the former."""

    now: dict[str, Counted]
    then: dict[str, Counted]
    over_time: list[dict[str, Any]]


@dataclass(frozen=True)
class Inputs:
    """What is compared. `learnt` are the texts that the model was shown in training; `guarded` is None without a model or an evaluation."""

    dataset: str
    incoming: list[Incoming]
    learnt: list[str]
    guarded: Guarded | None


def read(session: Session, spec: DriftSpec) -> Inputs:
    """Return what `spec` asks to compare.

    Raises:
        UserError: the model learnt from no dataset, or that is gone.
    """
    model = models.by_id(session, spec.model_id) if spec.model_id is not None else None
    # Tweets are read by the first model of a chain.
    reader = chains.parts(session, model)[0] if model is not None else None
    if spec.dataset is not None:
        dataset = datasets.resolve(session, spec.dataset)
    elif reader is not None and reader.dataset is not None:
        dataset = session.get_one(Dataset, reader.dataset)
    else:
        named = f"model {reader.name}" if reader is not None else "nothing"
        raise UserError(f"{named} says which texts it learnt from: name a dataset with --dataset")
    connection = session.connection()
    newest, of = (_NEWEST, {"source": spec.source}) if spec.stream is None else (_NEWEST_OF_STREAM, {"stream": spec.stream})
    values = of | {"hours": spec.hours, "last": spec.last, "dataset": dataset.id}
    incoming = [Incoming(row.id, row.text, row.paired) for row in connection.execute(text(newest + _INCOMING), values)]
    stage = reader.stage if reader is not None and spec.dataset is None else None
    asked = {"dataset": dataset.id, "stage": stage, "seed": str(spec.seed), "most": SAMPLE_SIZE}
    learnt = [str(found) for found in connection.execute(text(_LEARNT), asked).scalars()]
    guarded = _guarded(session, model, incoming) if model is not None else None
    return Inputs(dataset.name, incoming, learnt, guarded)


def _guarded(session: Session, model: Model, incoming: list[Incoming]) -> Guarded | None:
    values = {"model": model.id, "tweets": [each.id for each in incoming], "buckets": BUCKETS, "serious": sorted(SERIOUS)}
    found = session.connection().execute(text(_GUARDED), values).all()
    if not found:
        return None
    rows = sum(row.n for row in found)
    now = {name: Counted(sum(getattr(row, name) for row in found), rows) for name in ("fallbacks", "retried")}
    over_time = [{"since": row.since.isoformat(), "n": row.n, "flagged": row.flagged / row.n} for row in found]
    evaluation = evaluations.of_model(session, model.id)
    guard = (evaluation.result or {}).get("guard") if evaluation is not None else None
    then = {name: Counted(int(guard[name]), int(guard["n"])) for name in now} if guard else {}
    return Guarded(now, then, over_time)
