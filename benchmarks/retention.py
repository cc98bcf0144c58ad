"""Measures what it takes to remove many tweets: half of a million by their age, and the other half by their ids.

Each tweet has a summary and a place in a selection, each 256 of them a shard with two events. Seconds are told, for an operator must
know for how long it runs; they are those of this machine and of what else it does.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import text

from benchmarks.servers import empty
from workers.catalog.removal import forgetting, pruning
from workers.database import get_engine

T = TypeVar("T")

TWEETS, QUICK_TWEETS = 1_000_000, 2_000
_SHARD = 256

_FILL = (
    "INSERT INTO model (name, base, method, stage) VALUES ('m', 'b', 'none', 'summary')",
    """
INSERT INTO job (id, kind, queue, idempotency_key, state, created_at, finished_at)
SELECT md5('whole' || n)::uuid, 'summarization.summarize', 'summarization', 'whole' || n, 'done', moment, moment
FROM (SELECT n, now() - CASE WHEN n = 0 THEN interval '100 days' ELSE interval '10 days' END AS moment
      FROM generate_series(0, 1) AS n) AS made
""",
    """
INSERT INTO job (id, kind, queue, idempotency_key, state, parent, created_at, finished_at)
SELECT md5('shard' || n)::uuid, 'summarization.summarize_shard', 'summarization', 'shard' || n, 'done', whole.id,
       whole.created_at, whole.finished_at
FROM generate_series(0, (:tweets - 1) / :shard) AS n
JOIN job AS whole ON whole.id = md5('whole' || CASE WHEN n < :tweets / :shard / 2 THEN 0 ELSE 1 END)::uuid
""",
    """
INSERT INTO job_event (job, at, attempt, event, detail)
SELECT job.id, job.created_at, 1, event, 'some words on what happened'
FROM job CROSS JOIN unnest('{claimed,done}'::text[]) AS event ORDER BY created_at
""",
    """
INSERT INTO tweet (id, source, text, author, text_hash, received_at)
SELECT 't' || n, 's', said, 'a' || n % 50000, encode(sha256(convert_to(said, 'UTF8')), 'hex'),
       now() - CASE WHEN n < :tweets / 2 THEN interval '100 days' ELSE interval '10 days' END
FROM (SELECT n, 'the bus number ' || n || ' to Oslo was late again and I missed my train, ' || md5(n::text) AS said
      FROM generate_series(0, :tweets - 1) AS n) AS made
""",
    """
INSERT INTO selection (job, ordinal, tweet)
SELECT md5('whole' || CASE WHEN n < :tweets / 2 THEN 0 ELSE 1 END)::uuid, n, 't' || n FROM generate_series(0, :tweets - 1) AS n
""",
    """
INSERT INTO summary (tweet, model, prompt_version, cleaned, summary, job, attempt)
SELECT 't' || n, 1, '1', 'The bus number ' || n || ' to Oslo was late again.', 'The bus was late again.',
       md5('shard' || n / :shard)::uuid, 1
FROM generate_series(0, :tweets - 1) AS n
""",
    "ANALYZE",
)


@dataclass(frozen=True)
class Removal:
    """One way to remove: how many rows went, in how long, and by how much the most memory that this process ever had grew."""

    what: str
    rows: dict[str, int]
    seconds: float
    grown_mib: float


@dataclass(frozen=True)
class Removals:
    """What was measured beside so many tweets."""

    tweets: int
    removals: list[Removal]
    mib_before: float
    mib_after: float

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        told = [
            f"{self.tweets:,} tweets, tables and indexes of {self.mib_before:,.0f} MiB; after prune and VACUUM {self.mib_after:,.0f} MiB"
        ]
        for one in self.removals:
            rows = ", ".join(f"{number:,} {name}" for name, number in one.rows.items() if number)
            told.append(f"{one.what}: {one.seconds:.0f} s, memory grew by {one.grown_mib:.0f} MiB: {rows}")
        return told


def run(*, quick: bool) -> Removals:
    """Fill the tables, prune the old half, and forget the other by ids."""
    tweets = QUICK_TWEETS if quick else TWEETS
    for table in ("tweet", "job", "model", "forgotten"):
        empty(table)
    with get_engine().begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in _FILL:
            connection.execute(text(statement), {"tweets": tweets, "shard": _SHARD})
    removals: list[Removal] = []
    pruned = _measured("prune --older-than 90d", removals, lambda: pruning.prune(timedelta(days=90)), lambda done: done.counts)
    ids = [f"t{number}" for number in range(tweets // 2, tweets)]
    _measured(
        "forget --file", removals, lambda: forgetting.forget_all(ids), lambda done: {"tweets": done.tweets, "summaries": done.summaries}
    )
    return Removals(tweets, removals, pruned.bytes_before / 2**20, pruned.bytes_after / 2**20)


def _measured(what: str, into: list[Removal], run: Callable[[], T], rows: Callable[[T], dict[str, int]]) -> T:
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    done = run()
    seconds = time.monotonic() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    into.append(Removal(what, rows(done), seconds, grown))
    return done
