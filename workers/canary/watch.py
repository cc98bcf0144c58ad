"""Keeps the sums of a canary's shards, and stops or promotes the canary when a shard has ended.

A check reads the sums of the shards, never the summaries, in two statements.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, text, update
from sqlmodel import Session, col, select

from schemas.payloads import CanaryPart
from schemas.tables.models import Model
from schemas.tables.service import Promotion
from workers.canary.comparison import Arm, Block, Comparison, compare
from workers.catalog import service
from workers.database import session
from workers.jobs.context import JobContext
from workers.text.checks import SERIOUS

logger = logging.getLogger(__name__)

# Raw: one statement sums a shard's rows where they lie. A fallback is counted whatever its flags say of the text that it stands in for.
_RECORD = """
INSERT INTO canary_shard (job, promotion, block, candidate, rows, faulty, fallbacks, retried, words, seconds)
SELECT :job, :promotion, :block, :candidate, count(*), count(*) FILTER (WHERE flags ?| cast(:serious AS text[])),
       count(*) FILTER (WHERE flags ? 'fallback'), count(*) FILTER (WHERE tries > 1),
       coalesce(sum(length(summary) - length(replace(summary, ' ', '')) + (summary <> '')::int), 0),
       (SELECT CASE WHEN attempt = 1 THEN extract(epoch FROM clock_timestamp() - started_at) END FROM job WHERE id = :job)
FROM summary WHERE job = :job HAVING count(*) > 0
ON CONFLICT (job) DO NOTHING
"""
_BLOCKS = """
SELECT block, candidate, sum(rows) AS rows, sum(faulty) AS faulty, sum(fallbacks) AS fallbacks, sum(retried) AS retried,
       sum(words) AS words, coalesce(sum(rows) FILTER (WHERE seconds IS NOT NULL), 0) AS timed, coalesce(sum(seconds), 0) AS seconds
FROM canary_shard WHERE promotion = :promotion GROUP BY block, candidate ORDER BY block
"""
_FAILED = """
SELECT count(*) FILTER (WHERE (payload->'canary'->>'candidate')::boolean) AS candidate,
       count(*) FILTER (WHERE NOT (payload->'canary'->>'candidate')::boolean) AS incumbent
FROM job WHERE state IN ('failed', 'quarantined') AND (payload->'canary'->>'promotion')::bigint = :promotion
"""
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
    """Compare the models of a canary by the shards that have ended."""
    connection = opened.connection()
    blocks: dict[int, Block] = {}
    for sums in connection.execute(text(_BLOCKS), {"promotion": row.id}):
        values = {name: value for name, value in sums._mapping.items() if name not in ("block", "candidate")}
        block = blocks.setdefault(sums.block, Block())
        (block.candidate if sums.candidate else block.incumbent).add(Arm(**values))
    failed = connection.execute(text(_FAILED), {"promotion": row.id}).one()
    return compare(list(blocks.values()), (failed.candidate, failed.incumbent), row.share or 1)


def _store(opened: Session, row: Promotion, found: Comparison) -> None:
    opened.execute(update(Promotion).where(col(Promotion.id) == row.id).values(figures=found.as_dict()))


def _promote(opened: Session, row: Promotion) -> None:
    model = opened.get(Model, row.model) if row.model is not None else None
    if model is None:
        return
    service.put(opened, model, row.stream, "auto")
    logger.warning("canary of model %s promoted in full", row.model)
