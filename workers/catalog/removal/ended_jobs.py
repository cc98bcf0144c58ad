"""Removes jobs that ended long ago without a result that stays, with what was theirs.

`values` of these functions are those of the statements: the cutoff, the final states, how many at once, the kind of a training's members.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

# Of what a training's members came to their leader decides: they go with it. A canary that runs is judged by its shards, failed ones too.
_GOES = """
job.state = ANY(:ended) AND job.finished_at < :cutoff AND (job.kind LIKE 'summarization.%' OR job.state <> 'done')
-- What a stream has come to long ago is done with, though the stream goes on.
AND (
    SELECT true FROM job AS whole WHERE whole.id = job.parent AND whole.kind <> 'summarization.stream'
    AND (whole.state <> ALL(:ended) OR whole.finished_at >= :cutoff) LIMIT 1) IS NULL
AND NOT EXISTS (SELECT FROM stream WHERE stream.job = job.id)
AND (
    SELECT true FROM job AS part WHERE part.parent = job.id AND (part.kind <> :member OR part.state <> ALL(:ended)) LIMIT 1) IS NULL
AND NOT EXISTS (SELECT FROM model WHERE model.job = job.id)
AND (SELECT true FROM evaluation WHERE evaluation.job = job.id LIMIT 1) IS NULL
AND NOT EXISTS (
    SELECT FROM promotion WHERE promotion.state = 'canary' AND promotion.id = (job.payload->'canary'->>'promotion')::bigint)
"""
_JOBS = f"""
SELECT id, created_at, {_GOES} AS goes FROM job
WHERE created_at < :cutoff AND (created_at, id) > (:created, :after) AND (parent IS NOT NULL) = :shards AND kind <> :member
ORDER BY created_at, id LIMIT :most
"""  # noqa: S608
# Somebody may retry them at this moment: what is locked by another stays, and of the rest all is asked again. In the order that
# `workers.jobs.fanout` has: shards and members before what they are of.
_LOCK_JOBS = """
SELECT id, parent FROM job WHERE (id = ANY(:ids) OR parent = ANY(:ids)) AND state = ANY(:ended) ORDER BY id FOR UPDATE SKIP LOCKED
"""
# A stream that goes on must not wait: its shards are counted as they end.
_LOCK_PARENTS = """
WITH locked AS (SELECT id FROM job WHERE id = ANY(:ids) AND state = ANY(:ended) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
SELECT id FROM locked UNION ALL
SELECT id FROM job WHERE id = ANY(:ids) AND kind = 'summarization.stream' AND state <> ALL(:ended)
"""
_LOCKED_THAT_GO = f"""
SELECT id, kind = 'training.train' AS trains FROM job WHERE id = ANY(:ids) AND kind <> :member AND {_GOES}
AND (SELECT true FROM job AS part WHERE part.parent = job.id AND part.id <> ALL(:ids) LIMIT 1) IS NULL
"""  # noqa: S608
# What they wrote stays where its tweet does.
_LET_GO = ("UPDATE summary SET job = NULL WHERE job = ANY(:ids)", "UPDATE teaching SET job = NULL WHERE job = ANY(:ids)")
_DELETE_JOBS = "DELETE FROM job WHERE id = ANY(:ids) OR parent = ANY(:ids)"


def look(connection: Connection, values: dict[str, Any]) -> Sequence[Any]:
    """Return the next jobs in the order of their creation, and of each whether it goes."""
    return connection.execute(text(_JOBS), values).all()


def remove(connection: Connection, values: dict[str, Any], ids: list[UUID]) -> tuple[int, list[UUID]]:
    """Remove those of the jobs that still go and that nobody else holds; return how many rows, and the trainings among the jobs."""
    going = _locked(connection, values, ids)
    gone = {"ids": [job.id for job in going]}
    for statement in _LET_GO:
        connection.execute(text(statement), gone)
    return connection.execute(text(_DELETE_JOBS), gone).rowcount, [job.id for job in going if job.trains]


def _locked(connection: Connection, values: dict[str, Any], ids: list[UUID]) -> Sequence[Any]:
    """Lock jobs, with the members of trainings and the parents of shards; return those that still go and that nobody else holds."""
    rows = connection.execute(text(_LOCK_JOBS), values | {"ids": ids}).all()
    locked = {row.id for row in rows}
    parents = sorted({row.parent for row in rows if row.parent is not None} - locked)
    held = {None, *locked, *connection.execute(text(_LOCK_PARENTS), values | {"ids": parents}).scalars()}
    free = [row.id for row in rows if row.parent in held]
    return connection.execute(text(_LOCKED_THAT_GO), values | {"ids": free}).all()
