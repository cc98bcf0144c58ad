"""Define the states of a job and the legal moves between them.

`LEGAL_MOVES` and `PARENT_MOVES` are the only definition: the ledger takes from them the states from which each move may start,
tests hold every move that happens to them, and `docs/ledger.md` draws them.
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

# A parent has no work of its own: it runs while its shards wait and run, and a retry of these reopens it.
PARENT_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.RUNNING: frozenset({JobState.DONE, JobState.FAILED, JobState.CANCELLED}),
    JobState.DONE: frozenset(),
    JobState.FAILED: frozenset({JobState.RUNNING}),
    JobState.CANCELLED: frozenset({JobState.RUNNING}),
}


def sources_of(target: JobState, moves: dict[JobState, frozenset[JobState]] = LEGAL_MOVES) -> tuple[str, ...]:
    """Return the states from which a job may move to `target`, sorted, for an SQL `state = ANY(...)`."""
    return tuple(sorted(state.value for state, targets in moves.items() if target in targets))


RETRIABLE = tuple(JobState(state) for state in sources_of(JobState.QUEUED) if state != JobState.RUNNING)
"""The states from which a person may queue a job again."""
