"""The roster of workers: who lives, who was asked to leave, who has left.

A row is never deleted by a worker. `orders` is `drain` from the moment somebody asks the worker to leave, or that it begins to by
itself; `left_at` is set when its last job is given back. A worker that is killed sets neither: it is live for as long as `seen_at`
is recent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from workers.errors import NotFound, UserError

SEEN_WITHIN = 30
"""Seconds: a worker that was not seen for longer is taken for dead."""

DRAIN = "drain"

_REGISTER = """
INSERT INTO worker (name, queues, pid) VALUES (:name, :queues, :pid)
ON CONFLICT (name) DO UPDATE SET queues = excluded.queues, pid = excluded.pid, seen_at = now(), orders = NULL, left_at = NULL,
    started_at = CASE WHEN worker.pid = excluded.pid THEN worker.started_at ELSE now() END
"""


def register(connection: Connection, name: str, queues: Iterable[str], pid: int) -> None:
    """Say that this worker begins; what was asked of an earlier one of its name is forgotten."""
    connection.execute(text(_REGISTER), {"name": name, "queues": ",".join(sorted(queues)), "pid": pid})


_BEAT = "UPDATE worker SET seen_at = now() WHERE name = :name AND pid = :pid RETURNING orders"


def beat(connection: Connection, name: str, queues: Iterable[str], pid: int) -> str | None:
    """Say that this worker lives, and return its orders: None or `drain`."""
    row = connection.execute(text(_BEAT), {"name": name, "pid": pid}).one_or_none()
    if row is None:
        register(connection, name, queues, pid)
        return None
    return str(row.orders) if row.orders else None


_LEAVING = "UPDATE worker SET orders = 'drain', seen_at = now() WHERE name = :name AND pid = :pid"
_GIVE_BACK = "UPDATE job SET orders = 'drain' WHERE owner = :name AND state = 'running' AND orders IS NULL"


def leave(connection: Connection, name: str, pid: int) -> None:
    """Say that this worker is leaving, and ask for its running jobs back. To be said again until it has left.

    A message taken a moment before may be claimed a moment after.
    """
    connection.execute(text(_LEAVING), {"name": name, "pid": pid})
    connection.execute(text(_GIVE_BACK), {"name": name})


def has_left(connection: Connection, name: str, pid: int) -> None:
    """Say that this worker holds no job any more and ends."""
    connection.execute(text("UPDATE worker SET left_at = now() WHERE name = :name AND pid = :pid"), {"name": name, "pid": pid})


def forget(connection: Connection) -> int:
    """Delete the rows of workers that were not seen for a day, as the tables' owner; return how many."""
    return connection.execute(text("DELETE FROM worker WHERE seen_at < now() - interval '1 day'")).rowcount


@dataclass(frozen=True)
class LiveWorker:
    """A worker that was seen a moment ago. `jobs` are those that it holds."""

    name: str
    queues: tuple[str, ...]
    pid: int
    draining: bool
    jobs: int
    seen_seconds_ago: float


_LIVE = """
SELECT name, queues, pid, orders IS NOT NULL AS draining, round(extract(epoch FROM now() - seen_at)::numeric, 1)::float8 AS age,
       (SELECT count(*) FROM job WHERE job.owner = worker.name AND job.state = 'running') AS jobs
FROM worker WHERE left_at IS NULL AND seen_at > now() - make_interval(secs => :seen_within) ORDER BY name
"""


def live(connection: Connection) -> list[LiveWorker]:
    """The workers that live, on whatever machine, by name."""
    rows = connection.execute(text(_LIVE), {"seen_within": SEEN_WITHIN})
    return [LiveWorker(row.name, tuple(row.queues.split(",")), row.pid, row.draining, row.jobs, row.age) for row in rows]


def drain(connection: Connection, names: Sequence[str] | None) -> list[LiveWorker]:
    """Ask workers to leave: they hear it within a round of upkeep.

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
    connection.execute(text("UPDATE worker SET orders = 'drain' WHERE name = ANY(:names) AND left_at IS NULL"), {"names": chosen})
    return [known[name] for name in chosen]


def _full_name(name: str, known: Sequence[str]) -> str:
    fitting = [full for full in known if name in (full, full.partition("@")[0])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(f"worker {name}: {', '.join(fitting)} have this name. Give one of them in full")
    raise NotFound(f"worker {name}: no such one is alive. {'There are ' + ', '.join(known) if known else 'There is none at all'}")
