"""Registers workers: which are alive, which were asked to leave, and which have left.

A worker never deletes its row. `orders` is `drain` from the moment that the worker is asked to leave, or begins to leave by itself;
`left_at` is set when its last job is released. A worker that is killed sets neither: it counts as alive while `seen_at` is recent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, func, text
from sqlmodel import col, delete, update

from schemas.tables.jobs import Worker
from workers.errors import NotFound, UserError

SEEN_WITHIN = 30
"""Seconds: a worker that was not seen for longer counts as dead."""

_DRAIN = "drain"
_KEPT_FOR = timedelta(days=1)

# Raw: an upsert, the statement of every round, one that the planner's test explains, and a report with a count in it.
_REGISTER = """
INSERT INTO worker (name, queues, pid) VALUES (:name, :queues, :pid)
ON CONFLICT (name) DO UPDATE SET queues = excluded.queues, pid = excluded.pid, seen_at = now(), orders = NULL, left_at = NULL,
    started_at = CASE WHEN worker.pid = excluded.pid THEN worker.started_at ELSE now() END
"""
_BEAT = "UPDATE worker SET seen_at = now() WHERE name = :name AND pid = :pid RETURNING orders"
_GIVE_BACK = "UPDATE job SET orders = 'drain' WHERE owner = :name AND state = 'running' AND orders IS NULL"
_LIVE = """
SELECT name, queues, pid, orders IS NOT NULL AS draining, round(extract(epoch FROM now() - seen_at)::numeric, 1)::float8 AS age,
       (SELECT count(*) FROM job WHERE job.owner = worker.name AND job.state = 'running') AS jobs
FROM worker WHERE left_at IS NULL AND seen_at > now() - make_interval(secs => :seen_within) ORDER BY name
"""


@dataclass(frozen=True)
class LiveWorker:
    """A worker that was seen a moment ago. `jobs` counts those that it holds."""

    name: str
    queues: tuple[str, ...]
    pid: int
    draining: bool
    jobs: int
    seen_seconds_ago: float


def register(connection: Connection, name: str, queues: Iterable[str], pid: int) -> None:
    """Record that this worker has started; what was asked of an earlier worker of its name is cleared."""
    connection.execute(text(_REGISTER), {"name": name, "queues": ",".join(sorted(queues)), "pid": pid})


def beat(connection: Connection, name: str, queues: Iterable[str], pid: int) -> bool:
    """Record that this worker is alive, and return whether it must leave."""
    row = connection.execute(text(_BEAT), {"name": name, "pid": pid}).one_or_none()
    if row is None:
        register(connection, name, queues, pid)
        return False
    return bool(row.orders == _DRAIN)


def leave(connection: Connection, name: str, pid: int) -> None:
    """Record that this worker is leaving, and signal `drain` to its running jobs. To be repeated until it has left.

    A message taken a moment before may be claimed a moment after.
    """
    leaving = update(Worker).where(col(Worker.name) == name, col(Worker.pid) == pid)
    connection.execute(leaving.values(orders=_DRAIN, seen_at=func.now()))
    connection.execute(text(_GIVE_BACK), {"name": name})


def has_left(connection: Connection, name: str, pid: int) -> None:
    """Record that this worker holds no job any more and ends."""
    connection.execute(update(Worker).where(col(Worker.name) == name, col(Worker.pid) == pid).values(left_at=func.now()))


def forget(connection: Connection) -> int:
    """Delete the rows of workers that were not seen for a day, as the tables' owner; return how many."""
    return connection.execute(delete(Worker).where(col(Worker.seen_at) < func.now() - _KEPT_FOR)).rowcount


def live(connection: Connection) -> list[LiveWorker]:
    """Return the workers that are alive, on whatever machine, by name."""
    rows = connection.execute(text(_LIVE), {"seen_within": SEEN_WITHIN})
    return [LiveWorker(row.name, tuple(row.queues.split(",")), row.pid, row.draining, row.jobs, row.age) for row in rows]


def drain(connection: Connection, names: Sequence[str] | None) -> list[LiveWorker]:
    """Ask workers to leave: they read it within a round of maintenance.

    Args:
        connection: an open one.
        names: as `live` gives them, or their part before the `@` where that fits one alone; None: all that live.

    Returns:
        Those that were asked.

    Raises:
        NotFound: a name that no live worker has.
        UserError: a short name that several have.
    """
    known = {worker.name: worker for worker in live(connection)}
    chosen = list(known) if names is None else [_full_name(name, list(known)) for name in dict.fromkeys(names)]
    connection.execute(update(Worker).where(col(Worker.name).in_(chosen), col(Worker.left_at).is_(None)).values(orders=_DRAIN))
    return [known[name] for name in chosen]


def _full_name(name: str, known: Sequence[str]) -> str:
    fitting = [full for full in known if name in (full, full.partition("@")[0])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"worker {name}: {', '.join(fitting)} have this name. Give one of them in full")
    raise NotFound(f"worker {name}: no such one is alive. {'There are ' + ', '.join(known) if known else 'There is none at all'}")
