"""How streams stand: what waits, how far behind they are, how fast they go, and how long a summary takes. Read-only, at any time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text
from sqlmodel import Session, col, select

from schemas.tables.streams import Stream
from workers.errors import NotFound
from workers.streams import unfinished
from workers.streams.unfinished import UNFINISHED
from workers.text.instructions import PROMPT_VERSION

WINDOW = 60.0
"""Seconds over which rates are counted."""

_LATENCIES_OF = 600.0  # seconds
_LATENCY_SHARDS, _NEWEST = 64, 2_000  # that are looked at, the newest: a status costs the same however long a stream has run

# Raw: the newest rows by an index, counted and cut in one read each.
_NOW = """
SELECT now() AS moment, coalesce(lease_until > now(), false) AS held, arrived - sharded AS behind,
       least(:window, extract(epoch FROM now() - since)) AS seconds, since
FROM (SELECT *, CASE state WHEN 'running' THEN greatest(started_at, now() - make_interval(secs => :window))
                           ELSE now() - make_interval(secs => :window) END AS since FROM stream) AS stream WHERE name = :stream
"""
_WAITING = """
SELECT count(*) FROM (
    SELECT FROM arrival WHERE stream = :stream AND ordinal > (SELECT sharded FROM stream WHERE name = :stream) LIMIT :most) AS first
"""
_RATE_IN = """
SELECT count(*) AS arrivals, extract(epoch FROM now() - min(arrived_at)) AS seconds
FROM (SELECT arrived_at FROM arrival WHERE stream = :stream ORDER BY ordinal DESC LIMIT :most) AS newest
WHERE arrived_at > :since
"""
# The oldest tweet that has no summary: of the backlog, or of a shard that waits or runs.
_LAG = f"""
SELECT extract(epoch FROM now() - min(since)) FROM (
  (SELECT coalesce(said_at, arrived_at) AS since FROM arrival
   WHERE stream = :stream AND ordinal > (SELECT sharded FROM stream WHERE name = :stream) ORDER BY ordinal LIMIT 1)
  UNION ALL
  (SELECT coalesce(arrival.said_at, arrival.arrived_at)
   FROM {UNFINISHED} AS unfinished JOIN stream_shard ON stream_shard.job = unfinished.id AND stream_shard.stream = :stream
   JOIN arrival ON arrival.stream = :stream AND arrival.ordinal BETWEEN stream_shard.first AND stream_shard.last
   LEFT JOIN summary ON summary.tweet = arrival.tweet AND summary.model = stream_shard.model AND summary.prompt_version = :version
   WHERE summary.tweet IS NULL)
) AS oldest
"""  # noqa: S608
# One by one: the planner would rather read all jobs, of which it takes hardly any to have ended lately.
_ITS_JOB = "CROSS JOIN LATERAL (SELECT state, finished_at FROM job WHERE job.id = newest.job OFFSET 0) AS job"
_SHARD_COUNTS = f"""
SELECT (SELECT count(*) FROM job JOIN stream_shard ON stream_shard.job = job.id
        WHERE stream = :stream AND state IN ('failed', 'cancelled', 'quarantined')) AS failed,
       (SELECT coalesce(sum(tweets), 0)
        FROM (SELECT job, tweets FROM stream_shard WHERE stream = :stream ORDER BY first DESC LIMIT :most) AS newest
        {_ITS_JOB} WHERE state = 'done' AND finished_at > :since) AS written
"""  # noqa: S608
# What had a summary before it arrived took no time.
_LATENCY = f"""
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50, percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95
FROM (SELECT extract(epoch FROM summary.created_at - arrival.arrived_at) AS seconds
      FROM (SELECT newest.* FROM (SELECT * FROM stream_shard WHERE stream = :stream ORDER BY first DESC LIMIT :newest) AS newest
            {_ITS_JOB}
            WHERE job.state = 'done' AND job.finished_at > now() - make_interval(secs => :window)
            ORDER BY newest.first DESC LIMIT :most) AS shard
      JOIN arrival ON arrival.stream = :stream AND arrival.ordinal BETWEEN shard.first AND shard.last
      JOIN summary ON summary.tweet = arrival.tweet AND summary.model = shard.model AND summary.prompt_version = :version
      WHERE summary.created_at >= arrival.arrived_at) AS taken
"""  # noqa: S608


@dataclass(frozen=True)
class StreamStatus:
    """How a stream stands at a moment.

    Attributes:
        name: of the stream.
        address: where it comes from.
        model: as it was asked for.
        state: running, stopped, ended, failed; or lost: its process was killed or is not heard of.
        job: the parent of its shards.
        tweets: that arrived for it, redelivered ones once.
        backlog: of these, those that have no shard yet.
        in_flight: shards that wait or run.
        failed_shards: that ended without summaries.
        lag_seconds: since the oldest tweet without a summary was written, as the source says, or else arrived; 0 where there is none.
        arrivals_per_second: over the last minute, while it runs since its start at most.
        summaries_per_second: of the shards that ended in the last minute.
        latency_p50: seconds from arrival to stored summary, the median of the last ten minutes; None where nothing was stored.
        latency_p95: the same, of 95 in 100 tweets.
        counters: over its life.
        options: with which it was started last.
        error: why it failed.
        started_at: last.
        last_arrival_at: of a new tweet.
        at: the moment, by the clock of Postgres.
    """

    name: str
    address: str
    model: str
    state: str
    job: str | None
    tweets: int
    backlog: int
    in_flight: int
    failed_shards: int
    lag_seconds: float
    arrivals_per_second: float
    summaries_per_second: float
    latency_p50: float | None
    latency_p95: float | None
    counters: dict[str, Any]
    options: dict[str, Any]
    error: str | None
    started_at: datetime | None
    last_arrival_at: datetime | None
    at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` shows."""
        return asdict(self)


def listed(session: Session) -> list[StreamStatus]:
    """Return all streams by name."""
    return [_status(session.connection(), row) for row in session.exec(select(Stream).order_by(col(Stream.name)))]


def status(session: Session, name: str) -> StreamStatus:
    """Return one stream.

    Raises:
        NotFound: there is none of that name.
    """
    row = session.get(Stream, name)
    if row is None:
        raise NotFound(f"stream {name}: there is none. `tweetmill streams` lists them")
    return _status(session.connection(), row)


def _status(connection: Connection, row: Stream) -> StreamStatus:
    named = {"stream": row.name, "version": PROMPT_VERSION, "window": WINDOW}
    now = connection.execute(text(_NOW), named).one()
    newest = {**named, "most": _NEWEST, "since": now.since}
    shards = connection.execute(text(_SHARD_COUNTS), newest).one()
    incoming = connection.execute(text(_RATE_IN), newest).one()
    of_last = {**named, "window": _LATENCIES_OF, "newest": _NEWEST, "most": _LATENCY_SHARDS}
    latency = connection.execute(text(_LATENCY), of_last).one()
    lag = connection.execute(text(_LAG), named).scalar()
    exact = connection.execute(text(_WAITING), {**named, "most": _NEWEST}).scalar_one()
    # A stream that began a moment ago has had less time, and so had arrivals of which as many as are looked at came within it.
    window = WINDOW if row.state != "running" else max(1.0, float(now.seconds))
    seconds = max(1e-3, float(incoming.seconds)) if incoming.arrivals == _NEWEST else window
    return StreamStatus(
        name=row.name,
        address=row.address,
        model=row.model,
        state="lost" if row.state == "running" and not now.held else row.state,
        job=str(row.job) if row.job else None,
        tweets=row.arrived,
        backlog=exact if exact < _NEWEST else now.behind,
        in_flight=unfinished.count(connection, row.name),
        failed_shards=shards.failed,
        lag_seconds=max(0.0, float(lag or 0.0)),
        arrivals_per_second=incoming.arrivals / seconds,
        summaries_per_second=float(shards.written) / window,
        latency_p50=None if latency.p50 is None else float(latency.p50),
        latency_p95=None if latency.p95 is None else float(latency.p95),
        counters=row.counters,
        options=row.options,
        error=row.error,
        started_at=row.started_at,
        last_arrival_at=row.last_arrival_at,
        at=now.moment,
    )
