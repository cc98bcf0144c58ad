"""The members of a gang: jobs that work on one job together with it, each with a lease and a fence of its own.

The job itself is the gang's leader. It is claimed, fails and is retried like any other; its members are child jobs that have no life
without it. A leader *calls* them, which queues them, and *dismisses* those that no worker has taken; a member that finds no call of its
leader ends itself as cancelled. So whatever happens to either, the next call finds the members ready, and the leader's row alone counts
tries and failures. `docs/ledger.md` tells the rules, `workers/training/gang.py` uses them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from schemas.states import RETRIABLE, JobState

MEMBER = "training.member"
"""The kind of a member, which is its task's name."""

CALL = "gang"
"""The key of a leader's progress under which its members find its call."""

# Raw: moves of several rows with their events, in one statement each.
_CALL = """
WITH called AS (
  UPDATE job SET state = 'queued', failures = 0, run_after = now(), published_at = NULL, finished_at = NULL, error = NULL, orders = NULL
  WHERE parent = :leader AND state = ANY(:sources)
  RETURNING id, attempt)
INSERT INTO job_event (job, attempt, event) SELECT id, attempt, 'called' FROM called
"""
_DISMISS = """
WITH dismissed AS (
  UPDATE job SET state = 'cancelled', finished_at = now() WHERE parent = :leader AND state = 'queued'
  RETURNING id, attempt)
INSERT INTO job_event (job, attempt, event) SELECT id, attempt, 'cancelled' FROM dismissed
"""
_MEMBERS = """
SELECT id, (payload->>'node')::int AS node, attempt, state, owner, orders, preemptions, progress, lease_until
FROM job WHERE parent = :leader AND kind = :kind ORDER BY node
"""
_LEADER = "SELECT state, attempt, progress->:call AS call FROM job WHERE id = :leader"
# Whoever waits for members makes way for who waits longer, so that two gangs never hold a part of the workers each.
_OLDER_WAITS = """
SELECT EXISTS (
  SELECT 1 FROM job AS own
  JOIN job AS member ON member.queue = own.queue AND member.state = 'queued' AND member.kind = :kind AND member.parent <> own.id
  JOIN job AS leader ON leader.id = member.parent AND leader.state = 'running'
  WHERE own.id = :leader AND (leader.created_at, leader.id) < (own.created_at, own.id))
"""


@dataclass(frozen=True)
class Member:
    """One member as its row stands. `progress` is what it showed last, perhaps in an earlier attempt of its own."""

    id: uuid.UUID
    node: int
    attempt: int
    state: JobState
    owner: str | None
    orders: str | None
    preemptions: int
    progress: Mapping[str, Any]
    lease_until: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """Return what `tweetmill job --json` shows."""
        return {"node": self.node, "job": self.id, "state": self.state, "worker": self.owner, "lease_until": self.lease_until}

    @property
    def is_running(self) -> bool:
        """Whether a worker holds it."""
        return self.state is JobState.RUNNING

    def still_holds(self, joined: Member) -> bool:
        """Whether the worker that held it when it was `joined` still does."""
        return self.is_running and self.attempt == joined.attempt

    def has_left(self, joined: Member) -> bool:
        """Whether its worker has been asked to leave since it was `joined`, or has given it back for that."""
        return self.preemptions > joined.preemptions or (self.still_holds(joined) and self.orders == "drain")


@dataclass(frozen=True)
class Leader:
    """A leader as its members see it: `call` is what it asks of them, which counts while `state` is running and its attempt the same."""

    state: JobState
    attempt: int
    call: Mapping[str, Any] | None


def call(connection: Connection, leader: uuid.UUID) -> None:
    """Queue the members that have ended. The caller has fenced the leader's row."""
    connection.execute(text(_CALL), {"leader": leader, "sources": [state.value for state in RETRIABLE]})


def dismiss(connection: Connection, leader: uuid.UUID) -> None:
    """Cancel the members that no worker has taken. The caller has fenced the leader's row."""
    connection.execute(text(_DISMISS), {"leader": leader})


def members(connection: Connection, leader: uuid.UUID) -> tuple[Member, ...]:
    """Return the members of a job, by node; none for a job that works alone."""
    rows = connection.execute(text(_MEMBERS), {"leader": leader, "kind": MEMBER}).mappings()
    return tuple(Member(**{**row, "state": JobState(row["state"])}) for row in rows)


def leader_of(connection: Connection, leader: uuid.UUID) -> Leader:
    """Return how a leader stands."""
    row = connection.execute(text(_LEADER), {"leader": leader, "call": CALL}).one()
    return Leader(JobState(row.state), row.attempt, row.call)


def older_waits(connection: Connection, leader: uuid.UUID) -> bool:
    """Return whether the leader of an earlier job of this queue waits for a worker too."""
    return bool(connection.execute(text(_OLDER_WAITS), {"leader": leader, "kind": MEMBER}).scalar_one())
