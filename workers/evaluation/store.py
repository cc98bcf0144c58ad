"""What an evaluation leaves in Postgres beside its job's result: one row a figure, for queries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from workers.jobs.context import JobContext


def store(
    connection: Connection, attempt: JobContext, model: int, reference_set: str, result: Mapping[str, Any], systems: Sequence[str]
) -> None:
    """Write the figures of an evaluation's result, those of long tweets under the subset `long`."""
    rows = [
        {"subset": subset, "system": system, "metric": metric, **figure}
        for subset, table in (("all", result), ("long", result.get("long", {})))
        for system in systems
        for metric, figure in table.get(system, {}).items()
    ]
    connection.execute(
        text(
            "INSERT INTO evaluation (job, subset, system, metric, model, reference_set, value, low, high, n) "
            "SELECT :job, row.subset, row.system, row.metric, :model, :reference_set, row.value, row.low, row.high, row.n "
            "FROM jsonb_to_recordset(cast(:rows AS jsonb)) "
            "AS row(subset text, system text, metric text, value float8, low float8, high float8, n int) ON CONFLICT DO NOTHING"
        ),
        {"job": attempt.job, "model": model, "reference_set": reference_set, "rows": json.dumps(rows)},
    )
