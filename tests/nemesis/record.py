"""Collect what the checker reads: the history, and the tables as they are after the storm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.nemesis.cluster import Cluster
from tests.nemesis.history import Event, read

Row = dict[str, Any]

# `stamp` is the order of commits, in seconds: Postgres notes it while the committing transaction still holds its row locks.
_COLUMNS = {
    "jobs": (
        "id::text, kind, idempotency_key AS key, state, parent::text, remaining, attempt, failures, preemptions, max_failures, "
        "payload, result, error FROM job ORDER BY created_at"
    ),
    "moves": "id, job::text, attempt, event, detail, extract(epoch FROM at)::float8 AS at, {stamp} FROM job_event ORDER BY id",
    "rows": "job::text, step, value::int AS attempt, {stamp} FROM metric WHERE name = 'row' ORDER BY job, step",
    "summaries": "tweet, job::text, attempt, {stamp} FROM summary ORDER BY tweet",
    "selections": "job::text, ordinal, tweet FROM selection ORDER BY job, ordinal",
    "steps": "job::text, max(step) AS last FROM metric WHERE name = 'loss' GROUP BY job",
    "models": "job::text, name FROM model WHERE job IS NOT NULL",
    "checkpoints": "job::text, attempt, step FROM checkpoint ORDER BY id",
}
_STAMP = "extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS stamp"


@dataclass(frozen=True)
class Record:
    """All of it. Lists of plain rows, so that a test can write one by hand."""

    history: Sequence[Event] = ()
    jobs: Sequence[Row] = ()
    moves: Sequence[Row] = ()
    rows: Sequence[Row] = ()
    summaries: Sequence[Row] = ()
    selections: Sequence[Row] = ()
    steps: Sequence[Row] = ()
    models: Sequence[Row] = ()
    checkpoints: Sequence[Row] = ()
    left_behind: Sequence[str] = field(default_factory=tuple)

    def events_of(self, event: str) -> list[Event]:
        """The history's events of one sort."""
        return [one for one in self.history if one["event"] == event]

    def asked(self) -> dict[str, dict[str, Any]]:
        """What the producer asked for, by idempotency key, whether or not it came to commit it."""
        return {key: expected for event in self.events_of("asked") for key, expected in event["jobs"].items()}

    def due(self) -> dict[str, dict[str, Any]]:
        """What the producer asked for in batches that it finished: none of it may be missing."""
        finished = {event["batch"] for event in self.events_of("committed")}
        return {key: expected for event in self.events_of("asked") if event["batch"] in finished for key, expected in event["jobs"].items()}

    def cancelled(self) -> set[str]:
        """Keys of jobs that somebody cancelled, or tried to."""
        return {event["key"] for event in self.events_of("cancelling")}


def collect(cluster: Cluster, left_behind: Sequence[str]) -> Record:
    """Read the history and the tables."""
    queries = {name: "SELECT " + columns.format(stamp=_STAMP) for name, columns in _COLUMNS.items()}
    tables = {name: [dict(row._mapping) for row in cluster.sql(query)] for name, query in queries.items()}
    return Record(history=read(cluster.history.path), left_behind=tuple(left_behind), **tables)
