"""Faults of Redis, of Postgres, of the lines to them, and of what comes over these lines."""

from __future__ import annotations

import json
import signal
import time
import uuid

from redis.exceptions import RedisError

from tests.nemesis.cluster import LEASE, Cluster
from tests.nemesis.faults import Struck, fault
from tests.nemesis.schedule import Strike
from tests.support.proxy import Proxy
from workers.app import publish
from workers.errors import UserError
from workers.jobs import fanout

# Redis


@fault("redis", (2.0, 6.0))
def kill_redis(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGKILL; started again with its append-only file."""
    process = cluster.valkey.process()
    if process is None:
        return None
    process.kill()
    return Struck(f"valkey {process.pid}", cluster.valkey.start)


@fault("redis", (3.0, 10.0))
def pause_redis(cluster: Cluster, strike: Strike) -> Struck | None:
    """SIGSTOP: connections stand and nobody answers."""
    process = cluster.valkey.process()
    if process is None:
        return None
    process.suspend()
    return Struck(f"valkey {process.pid}", process.resume)


@fault("redis")
def flush_redis(cluster: Cluster, strike: Strike) -> Struck | None:
    """All queues are gone."""
    with cluster.redis() as client:
        waiting = client.dbsize()
        client.flushall()
    return Struck(f"{waiting} keys")


@fault("redis", (8.0, 14.0))
def fill_redis(cluster: Cluster, strike: Strike) -> Struck | None:
    """At its memory limit Redis refuses to store anything."""
    with cluster.redis() as client:
        client.config_set("maxmemory", 1)

    def heal() -> None:
        with cluster.redis() as client:
            client.config_set("maxmemory", 0)

    return Struck("maxmemory 1", heal)


@fault("redis", (4.0, 10.0))
def half_open_redis(cluster: Cluster, strike: Strike) -> Struck | None:
    """The line forwards nothing and closes nothing. Connections that stood never come back; new ones are well in the end."""
    return _half_open(cluster.redis_line, lost=True)


@fault("redis", (6.0, 12.0))
def delay_redis(cluster: Cluster, strike: Strike) -> Struck | None:
    """Each answer takes 200 ms longer."""
    return _delay(cluster.redis_line)


@fault("redis")
def cut_redis(cluster: Cluster, strike: Strike) -> Struck | None:
    """All connections are closed."""
    return _cut(cluster.redis_line)


@fault("redis", (3.0, 6.0))
def refuse_redis(cluster: Cluster, strike: Strike) -> Struck | None:
    """Nobody may connect."""
    return _refuse(cluster.redis_line)


# Postgres


@fault("postgres", (1.0, 4.0))
def stop_postgres(cluster: Cluster, strike: Strike) -> Struck | None:
    """An immediate stop: Postgres comes back by crash recovery."""
    process = cluster.postgres.process()
    if process is None:
        return None
    process.send_signal(signal.SIGQUIT)
    process.wait(timeout=20)
    return Struck(f"postgres {process.pid}", cluster.postgres.start)


@fault("postgres", (LEASE + 3, LEASE + 8))
def stop_postgres_for_long(cluster: Cluster, strike: Strike) -> Struck | None:
    """An immediate stop for longer than a lease: workers must give up what they hold."""
    return stop_postgres(cluster, strike)


@fault("postgres", (LEASE + 2, LEASE + 8))
def half_open_postgres(cluster: Cluster, strike: Strike) -> Struck | None:
    """The line forwards nothing for longer than a lease, and closes nothing until the kernel would find out."""
    return _half_open(cluster.postgres_line, lost=False)


@fault("postgres", (6.0, 12.0))
def delay_postgres(cluster: Cluster, strike: Strike) -> Struck | None:
    """Each answer takes 200 ms longer."""
    return _delay(cluster.postgres_line)


@fault("postgres")
def cut_postgres(cluster: Cluster, strike: Strike) -> Struck | None:
    """All connections are closed."""
    return _cut(cluster.postgres_line)


@fault("postgres", (LEASE + 2, LEASE + 6))
def refuse_postgres(cluster: Cluster, strike: Strike) -> Struck | None:
    """Nobody may connect, for longer than a lease."""
    return _refuse(cluster.postgres_line)


@fault("postgres", (3.0, 8.0))
def read_only_postgres(cluster: Cluster, strike: Strike) -> Struck | None:
    """Every transaction is read-only."""
    cluster.set_for_all("SET default_transaction_read_only = on")
    return Struck("postgres", lambda: cluster.set_for_all("RESET default_transaction_read_only"))


# The lines


def _half_open(line: Proxy, *, lost: bool) -> Struck:
    line.hold()

    def heal() -> None:
        if lost:
            line.lose()
        else:
            line.cut()
        line.forward()

    return Struck("the line", heal)


def _delay(line: Proxy) -> Struck:
    line.delay(0.2)
    return Struck("the line", line.forward)


def _cut(line: Proxy) -> Struck:
    connections = line.connections
    line.cut()
    return Struck(f"{connections} connections")


def _refuse(line: Proxy) -> Struck:
    line.refuse()
    return Struck("the line", line.forward)


# Messages and requests

_SOME_JOBS = (
    "SELECT id, kind, queue, state FROM job WHERE remaining IS NULL AND state = ANY(:states) ORDER BY md5(id || :draw) LIMIT :limit"
)
# Not JSON, no message, a message without an end, and a pickle.
_GARBAGE = (
    "not json at all",
    "{}",
    '{"body": 1}',
    json.dumps(
        {
            "body": "gASVBAAAAAAAAABdlC4=",
            "content-type": "application/x-python-serialize",
            "content-encoding": "binary",
            "headers": {"task": "test.work", "id": "forged"},
            "properties": {"body_encoding": "base64", "delivery_tag": "1", "delivery_info": {"exchange": "", "routing_key": "upkeep"}},
        }
    ),
)


def _some_jobs(cluster: Cluster, strike: Strike, states: list[str], limit: int) -> list[tuple[uuid.UUID, str, str]]:
    return [(row.id, row.kind, row.queue) for row in cluster.sql(_SOME_JOBS, states=states, draw=str(strike.draw), limit=limit)]


@fault("redis")
def duplicate_messages(cluster: Cluster, strike: Strike) -> Struck | None:
    """The messages of some jobs are delivered five times more, whether they wait, run or are done."""
    chosen = _some_jobs(cluster, strike, ["queued", "running"], 4) + _some_jobs(cluster, strike, ["done"], 2)
    for job, kind, queue in chosen * 5:
        publish(kind, queue, job)
    return Struck(f"{len(chosen)} jobs") if chosen else None


@fault("redis")
def forge_messages(cluster: Cluster, strike: Strike) -> Struck | None:
    """Messages of jobs that don't exist, of jobs of another kind, and ones that are no messages."""
    for _ in range(5):
        publish("test.work", "upkeep", uuid.UUID(int=strike.draw << 64 | time.monotonic_ns() % (1 << 64)))
    for job, _, _ in _some_jobs(cluster, strike, ["queued", "running"], 2):
        publish("training.train", "training", job)
    with cluster.redis() as client:
        client.lpush("upkeep", *_GARBAGE)
    return Struck(f"{5 + len(_GARBAGE)} messages")


@fault("jobs")
def cancel_job(cluster: Cluster, strike: Strike) -> Struck | None:
    """Somebody cancels a job that runs, or one that waits."""
    rows = cluster.sql(
        "SELECT id, idempotency_key FROM job WHERE state IN ('queued', 'running') AND parent IS NULL "
        "ORDER BY state = 'queued', md5(id || :draw) LIMIT 1",
        draw=str(strike.draw),
    )
    if not rows:
        return None
    # Told before it is done: the checker must know of a cancel that a fault of its own cut off half-way.
    cluster.history.write("cancelling", key=rows[0].idempotency_key)
    try:
        with cluster.engine.begin() as connection:
            fanout.cancel(connection, rows[0].id)
    except UserError:
        return None  # it has just ended
    return Struck(str(rows[0].id), details={"key": rows[0].idempotency_key})


def answers(cluster: Cluster) -> bool:
    """Whether both servers answer, past the lines."""
    try:
        with cluster.redis() as client:
            client.ping()
        cluster.sql("SELECT 1")
    except (RedisError, OSError):
        return False
    return True
