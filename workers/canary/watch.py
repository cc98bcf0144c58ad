"""Keeps the sums of a canary's shards, and stops or promotes the canary when a shard has ended.

A check reads the sums of the shards, never the summaries, in two statements.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, text, update
from sqlmodel import Session, col, select

from schemas.payloads import CanaryPart
from schemas.tables.models import Model
from schemas.tables.service import Promotion
from workers.canary.comparison import Arm, Block, Comparison, compare
from workers.catalog import service
from workers.catalog.shard_models import shards_of
from workers.database import session
from workers.jobs.context import JobContext
from workers.text.checks import SERIOUS

logger = logging.getLogger(__name__)

# Raw: one statement sums a shard's rows where they lie. A fallback is counted whatever its flags say of the text that it stands in for.
_RECORD = """
INSERT INTO canary_shard (job, promotion, stream, block, candidate, rows, faulty, fallbacks, retried, words, seconds)
SELECT :job, :promotion, (SELECT stream FROM stream_shard WHERE job = :job), :block, :candidate, count(*),
       count(*) FILTER (WHERE flags ?| cast(:serious AS text[])),
       count(*) FILTER (WHERE flags ? 'fallback'), count(*) FILTER (WHERE tries > 1),
       coalesce(sum(length(summary) - length(replace(summary, ' ', '')) + (summary <> '')::int), 0),
       CASE WHEN count(*) > 0 THEN (
         SELECT CASE WHEN attempt = 1 THEN extract(epoch FROM clock_timestamp() - started_at) END FROM job WHERE id = :job) END
FROM summary WHERE job = :job
ON CONFLICT (job) DO NOTHING
"""
# Each stream counts its own shards, so the same number is another block there.
_BLOCKS = """
SELECT stream, block, candidate, count(*) AS shards, max(ended_at) AS ended, sum(rows) AS rows, sum(faulty) AS faulty,
       sum(fallbacks) AS fallbacks, sum(retried) AS retried, sum(words) AS words,
       coalesce(sum(rows) FILTER (WHERE seconds IS NOT NULL), 0) AS timed, coalesce(sum(seconds), 0) AS seconds
FROM canary_shard WHERE promotion = :promotion GROUP BY stream, block, candidate
"""
_FAILED = """
SELECT stream_shard.stream, (payload->'canary'->>'block')::bigint AS block, (payload->'canary'->>'candidate')::boolean AS candidate,
       count(*) AS shards
FROM job LEFT JOIN stream_shard ON stream_shard.job = job.id
WHERE state IN ('failed', 'quarantined') AND (payload->'canary'->>'promotion')::bigint = :promotion GROUP BY 1, 2, 3
"""
_SUMS = ("rows", "faulty", "fallbacks", "retried", "words", "timed", "seconds")
_FAULTY = sorted({*SERIOUS, "fallback", "no_answer"})


def record(connection: Connection, attempt: JobContext, part: CanaryPart) -> None:
    """Store the sums of a shard's summaries, in the transaction that ends the shard."""
    connection.execute(text(_RECORD), {"job": attempt.job, **part.model_dump(), "serious": _FAULTY})


def check(promotion: int) -> Comparison | None:
    """Compare a canary's models and do what follows; None where it has ended.

    A worse candidate is stopped: its stream has the model in service alone from the next shard on. A ready one is promoted in full where
    it was put there with `--auto`.
    """
    with session() as opened:
        service.lock(opened)
        row = opened.exec(select(Promotion).where(Promotion.id == promotion, Promotion.state == "canary")).one_or_none()
        if row is None:
            return None
        found = compared(opened, row)
        _store(opened, row, found)
        if found.verdict == "worse":
            service.end(opened, row, "stopped", found.says)
            logger.warning("canary of model %s stopped", row.model)
        elif found.verdict == "ready" and row.auto:
            _promote(opened, row)
        return found


def compared(opened: Session, row: Promotion) -> Comparison:
    """Compare the models of a canary by the blocks of which every shard has ended, in the order in which they did.

    So a look never sees a part of a block, such as the model in service's before the candidate's, and the groups that an earlier look
    saw stay as they were.
    """
    connection, share = opened.connection(), row.share or 1
    blocks: dict[tuple[str | None, int], _Ended] = defaultdict(_Ended)
    failed = Counter[bool]()
    for found in connection.execute(text(_FAILED), {"promotion": row.id}):
        failed[found.candidate] += found.shards
        blocks[found.stream, found.block].shards += found.shards
    for sums in connection.execute(text(_BLOCKS), {"promotion": row.id}):
        block = blocks[sums.stream, sums.block]
        block.shards += sums.shards
        block.at = sums.ended if block.at is None else max(block.at, sums.ended)
        arm = Arm(**{name: getattr(sums, name) for name in _SUMS})
        (block.sums.candidate if sums.candidate else block.sums.incumbent).add(arm)
    whole = [
        (block.at, stream or "", number, block.sums)
        for (stream, number), block in blocks.items()
        if block.at is not None and block.shards >= shards_of(number, share)
    ]
    return compare([sums for *_, sums in sorted(whole, key=lambda each: each[:3])], (failed[True], failed[False]), share)


@dataclass
class _Ended:
    """What of a block has ended: how many of its shards, when the last one did that stored its sums, and these."""

    shards: int = 0
    at: datetime | None = None
    sums: Block = field(default_factory=Block)


def _store(opened: Session, row: Promotion, found: Comparison) -> None:
    opened.execute(update(Promotion).where(col(Promotion.id) == row.id).values(figures=found.as_dict()))


def _promote(opened: Session, row: Promotion) -> None:
    model = opened.get(Model, row.model) if row.model is not None else None
    if model is None:
        return
    service.put(opened, model, row.stream, "auto")
    logger.warning("canary of model %s promoted in full", row.model)
