"""The states of a job and the only moves between them.

`LEGAL_MOVES` is the one place that knows: the ledger puts it in the `WHERE` of every UPDATE, and `docs/ledger.md` draws it.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands. The last four are final until somebody asks for a retry."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


FINAL_STATES = frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.QUARANTINED})

LEGAL_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.QUEUED, *FINAL_STATES}),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.QUARANTINED: frozenset({JobState.QUEUED}),
}


def sources_of(target: JobState) -> tuple[str, ...]:
    """The states from which a job may move to `target`, sorted, for an SQL `state = ANY(...)`."""
    return tuple(sorted(state.value for state, targets in LEGAL_MOVES.items() if target in targets))
