"""Put jobs into the ledger for tests, move them by hand, and look at them."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import Engine, Row, text

from schemas.payloads import Payload
from schemas.states import JobState
from workers.jobs import ledger, worker_registry

LEASE = 60.0


class Work(Payload):
    """A payload of the tests."""

    name: str = "work"


def add(engine: Engine, kind: str = "upkeep.work", queue: str = "upkeep", payload: Payload | None = None, **fields: Any) -> uuid.UUID:
    """A queued job of its own."""
    new = ledger.NewJob(kind=kind, queue=queue, payload=payload or Work(), idempotency_key=uuid.uuid4().hex, **fields)
    with engine.begin() as connection:
        return ledger.insert(connection, [new])[0]


def add_parent(engine: Engine, shards: int) -> tuple[uuid.UUID, list[uuid.UUID]]:
    """A running parent and its queued shards."""
    parent = add(engine, kind="upkeep.whole", state=JobState.RUNNING, remaining=shards)
    return parent, [add(engine, parent=parent) for _ in range(shards)]


def claim(engine: Engine, job: uuid.UUID, owner: str = "worker@here", lease: float = LEASE) -> ledger.Claim | None:
    """Take a job."""
    with engine.begin() as connection:
        return ledger.claim(connection, job, owner, lease)


def claimed(engine: Engine, job: uuid.UUID, owner: str = "worker@here", lease: float = LEASE) -> ledger.Claim:
    """Take a job that must be there to take."""
    held = claim(engine, job, owner, lease)
    assert held is not None
    return held


def finish(engine: Engine, held: ledger.Claim, state: JobState = JobState.DONE) -> None:
    """End a held job."""
    with engine.begin() as connection:
        ledger.finish(connection, held, state)


def row(engine: Engine, job: uuid.UUID) -> Row[Any]:
    """Return a job's row."""
    with engine.connect() as connection:
        return connection.execute(text("SELECT * FROM job WHERE id = :job"), {"job": job}).one()


def state(engine: Engine, job: uuid.UUID) -> str:
    """Return a job's state."""
    return str(row(engine, job).state)


def events(engine: Engine, job: uuid.UUID) -> list[str]:
    """What happened to a job, in order."""
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT event FROM job_event WHERE job = :job ORDER BY id"), {"job": job}).scalars())


def expire(engine: Engine, job: uuid.UUID) -> None:
    """Let a lease run out now: a second ago Postgres itself may not have been up, and then nobody would be to blame."""
    alter(engine, job, "lease_until = now()")


def alter(engine: Engine, job: uuid.UUID, change: str) -> None:
    """Change a row behind the ledger's back."""
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE job SET {change} WHERE id = :job"), {"job": job})  # noqa: S608


def live(engine: Engine, count: int) -> None:
    """Register so many workers that live now: worker0@here, worker1@here …"""
    for number in range(count):
        with engine.begin() as connection:
            worker_registry.register(connection, f"worker{number}@here", ("upkeep", "training"), 1)
