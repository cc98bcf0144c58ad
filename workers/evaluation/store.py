"""Writes the figures of an evaluation to the table `evaluation`, one row each, for queries beside the job's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from schemas.tables.models import Evaluation
from workers.database import session_on
from workers.jobs.context import JobContext


def store(
    connection: Connection, context: JobContext, model: int, reference_set: str, result: Mapping[str, Any], systems: Sequence[str]
) -> None:
    """Write the figures of an evaluation's result, those of long tweets under the subset `long`."""
    common = {"job": context.job, "model": model, "reference_set": reference_set}
    rows = [
        {**common, "subset": subset, "system": system, "metric": metric, **figure}
        for subset, table in (("all", result), ("long", result.get("long", {})))
        for system in systems
        for metric, figure in table.get(system, {}).items()
    ]
    with session_on(connection) as session:
        session.execute(insert(Evaluation).on_conflict_do_nothing(), rows)
