"""Rejected rows: stored with their place, field and reason, never their text, and found by the name that people typed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

_ROWS_AT_ONCE = 5_000

_INSERT = """
INSERT INTO rejected_row (job, origin, row_key, field, reason)
SELECT :job, :origin, row.key, row.field, row.reason
FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row(key text, field text, reason text)
ON CONFLICT DO NOTHING
"""
# Rows have the path that was typed, or the dataset of the job that rejected them. A file is found by its name, by another path to it, and
# among the rows of the jobs that it was imported for: of an import by the beginning of the key, of pairs by being none of those.
_NAMED = """
FROM rejected_row LEFT JOIN job ON job.id = rejected_row.job
CROSS JOIN (SELECT cast(:typed AS text) AS typed, cast(:name AS text) AS name) AS wanted
WHERE typed IS NULL OR job.payload->>'dataset' = typed
   OR right('/' || origin, length(typed) + 1) = '/' || typed OR right('/' || typed, length(origin) + 1) = '/' || origin
   OR (starts_with(row_key, name || ' ') AND starts_with(job.payload#>>'{imports,file}', name || ':'))
   OR (starts_with(job.payload->>'pairs', name || ':')
       AND NOT starts_with(row_key, coalesce(split_part(job.payload#>>'{imports,file}', ':', 1), '') || ' '))
"""
_COUNT = f"SELECT count(*) {_NAMED}"
_NEWEST = f"""
SELECT origin, row_key AS row, field, reason, rejected_at FROM (
    SELECT rejected_row.* {_NAMED} ORDER BY rejected_row.id DESC LIMIT :limit) AS newest
ORDER BY id
"""  # noqa: S608


@dataclass(frozen=True)
class Found:
    """Rejected rows: the newest of them, and how many there are."""

    rows: list[dict[str, Any]]
    total: int


def keep(connection: Connection, origin: str, rows: Iterable[tuple[str, str | None, str]], job: UUID | None = None) -> None:
    """Store rows that can't be used, given as key, field and reason; one that is there already is not stored twice."""
    stream = iter(rows)
    while part := list(islice(stream, _ROWS_AT_ONCE)):
        rejected = [{"key": key, "field": field, "reason": reason} for key, field, reason in part]
        connection.execute(text(_INSERT), {"job": job, "origin": origin, "rows": json.dumps(rejected)})


def find_rejected(connection: Connection, typed: str | None, limit: int) -> Found:
    """Return the newest rejected rows of a file or dataset, in the order in which they came.

    Args:
        connection: to the database.
        typed: the name that a person knows it by: a dataset's, a file's, or a path to the file; None: all.
        limit: rows at most.
    """
    named = os.path.normpath(typed) if typed else None
    values = {"typed": named, "name": PurePath(named).name if named else None, "limit": limit}
    total = connection.execute(text(_COUNT), values).scalar_one()
    return Found([dict(row._mapping) for row in connection.execute(text(_NEWEST), values)], total)
