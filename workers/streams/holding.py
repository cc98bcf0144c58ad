"""Lets one process at a time read a stream, by a lease on its row, which holds behind a pooler of Postgres too."""

from __future__ import annotations

import json
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, Row, text

from workers import processes
from workers.errors import TweetmillError, UserError

LEASE = 30.0
"""Seconds for which a process holds its stream without a word. A killed one on this machine is noticed at once."""

Ended = Literal["stopped", "ended", "failed"]

# Raw: who takes a row that another one held is decided in the statement that takes it.
_INSERT = """
INSERT INTO stream (name, address, model, options, state) VALUES (:name, :address, :model, cast(:options AS jsonb), 'stopped')
ON CONFLICT (name) DO NOTHING
"""
_LOCK = """
SELECT address, owner, lease_until > now() AS held, extract(epoch FROM now() - seen_at) AS silent,
       extract(epoch FROM lease_until - now()) AS left, arrived
FROM stream WHERE name = :name FOR UPDATE
"""
_TAKE = """
UPDATE stream SET owner = :owner, lease_until = now() + make_interval(secs => :lease), state = 'running', address = :address,
    model = :model, options = cast(:options AS jsonb), error = NULL, started_at = now(), seen_at = now(), stopped_at = NULL,
    cursor = CASE WHEN :from_start THEN NULL ELSE cursor END
WHERE name = :name RETURNING cursor, job
"""
_RENEW = """
UPDATE stream SET lease_until = now() + make_interval(secs => :lease), seen_at = now() WHERE name = :name AND owner = :owner RETURNING 1
"""
_SET_JOB = "UPDATE stream SET job = :job WHERE name = :name AND owner = :owner"
_LEAVE = """
UPDATE stream SET owner = NULL, lease_until = NULL, state = :state, error = :error, stopped_at = now() WHERE name = :name AND owner = :owner
"""


class StreamLost(TweetmillError):
    """Another process has taken this stream since this one was not heard of for half a minute: nothing more is written here."""


@dataclass(frozen=True)
class NewStream:
    """A stream as it is asked for.

    Attributes:
        name: of the stream, and the source that its tweets name.
        address: where it comes from, without secrets.
        model: as it was asked for.
        options: that are shown with it.
        goes_on_from: whether the cursor of another address counts for this one too.
    """

    name: str
    address: str
    model: str
    options: Mapping[str, Any]
    goes_on_from: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True)
class Held:
    """A stream that this process reads.

    Attributes:
        name: of the stream.
        owner: this process, as the row names it.
        cursor: behind which to read; None: from the beginning.
        job: the parent of the shards of the last start; None before the first.
    """

    name: str
    owner: str
    cursor: str | None
    job: uuid.UUID | None


def take(connection: Connection, asked: NewStream, *, from_start: bool = False) -> Held:
    """Take a stream for this process; a new one is made.

    Args:
        connection: in a transaction.
        asked: what is read, and how.
        from_start: leave the cursor out of account. What is known already is not done again.

    Raises:
        UserError: another process reads it, or it was read from another address so far.
    """
    values = {"name": asked.name, "address": asked.address, "model": asked.model, "options": json.dumps(asked.options)}
    is_new = connection.execute(text(_INSERT), values).rowcount == 1
    row = connection.execute(text(_LOCK), {"name": asked.name}).one()
    if row.held and not _is_gone(row.owner):
        raise UserError(_refusal(asked.name, row))
    if row.address != asked.address and not (is_new or from_start or asked.goes_on_from(row.address)):
        raise UserError(
            f"stream {asked.name} was read from {row.address} so far: give another --name, or --from-start to go on with {asked.address}"
        )
    owner = _this_process()
    taken = connection.execute(text(_TAKE), {**values, "owner": owner, "lease": LEASE, "from_start": from_start}).one()
    return Held(asked.name, owner, taken.cursor, taken.job)


def renew(connection: Connection, held: Held) -> None:
    """Prolong the lease.

    Raises:
        StreamLost: another process has the stream.
    """
    if connection.execute(text(_RENEW), {"name": held.name, "owner": held.owner, "lease": LEASE}).one_or_none() is None:
        raise StreamLost


def set_job(connection: Connection, held: Held, job: uuid.UUID) -> None:
    """Note the parent to which shards are added from now on."""
    connection.execute(text(_SET_JOB), {"name": held.name, "owner": held.owner, "job": job})


def leave(connection: Connection, held: Held, state: Ended, error: str | None = None) -> None:
    """Give a stream back, so that another process may take it at once. One that was lost is left as it is."""
    connection.execute(text(_LEAVE), {"name": held.name, "owner": held.owner, "state": state, "error": error})


def _this_process() -> str:
    pid = os.getpid()
    return json.dumps(
        {"host": socket.gethostname(), "pid": pid, "started": processes.started(pid), "where": _where(), "start": uuid.uuid4().hex[:8]}
    )


def _where() -> str:
    """Return what two processes share that can see each other: the machine's start, and where containers divide it the process ids."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    return f"{processes.boot_id()} {namespace}"


def _is_gone(owner: str) -> bool:
    """Whether the process that holds a stream surely runs no more: one that was killed here need not be waited for."""
    known = json.loads(owner)
    return bool(known["where"] == _where() and processes.started(known["pid"]) != known["started"])


def _refusal(name: str, row: Row[Any]) -> str:
    owner = json.loads(row.owner)
    return (
        f"stream {name} is read by process {owner['pid']} on {owner['host']}, heard of {row.silent:.0f} s ago: stop that one, or give "
        f"this one another --name. If that machine is gone, its hold ends in {row.left:.0f} s"
    )
