"""What Redis, Postgres and this machine say of themselves, and what of it keeps a worker from starting: one list for all who ask.

`tweetmill status` shows what a worker would refuse, in the same words. Each judgement is one small function that says what is wrong and
what helps.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

Clock = Callable[[], float]

CLOCK_TOLERANCE = 1.0
"""Seconds by which a worker's clock may differ from a server's."""

AGREEMENT = "tweetmill.visibility_timeout"
"""The key in Redis under which live workers keep the visibility timeout that they agreed on."""

AGREED_FOR = 60
"""Seconds that the key outlives the last of them."""

_LEAST_FREE = 256 * 2**20  # bytes of the state folder's disk

# The first release of each series without CVE-2025-49844 (and 46817, 46818, 46819), by which a Lua script may run any code.
_FIXED: dict[str, dict[tuple[int, int], int]] = {
    "Redis": {(6, 2): 20, (7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "Valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}


@dataclass(frozen=True)
class RedisReading:
    """What a Redis or Valkey says of itself; None where it does not say. Times in seconds."""

    product: str
    version: str
    append_only: bool | None
    eviction: str | None
    clock_ahead: float
    visibility_timeout: int | None
    role: str | None = None
    mode: str | None = None
    writes_to_disk: bool | None = None
    memory_full: bool | None = None
    executable: str | None = None


@dataclass(frozen=True)
class DatabaseReading:
    """What Postgres says of itself."""

    version: str
    revision: str | None
    head: str
    clock_ahead: float
    standby: bool = False
    read_only: bool = False
    schema: str | None = "public"
    encoding: str = "UTF8"
    may_work: bool | None = None
    may_enqueue: bool | None = None


@dataclass(frozen=True)
class Finding:
    """Something that keeps a worker from starting.

    Attributes:
        text: what is wrong and what helps.
        passes: it may end by itself or by somebody's hand while a worker waits.
    """

    text: str
    passes: bool = False


def clock_ahead(ask: Callable[[], float], clock: Clock = time.time) -> float:
    """Seconds by which this machine's clock is surely ahead of a server's, below 0 when it is behind.

    The server's answer belongs to the middle of the round trip, give or take half of it, and that half is given away. The quickest
    of three answers counts.
    """
    best = (math.inf, 0.0)
    for _ in range(3):
        asked = clock()
        server = ask()
        answered = clock()
        best = min(best, (abs(answered - asked), (asked + answered) / 2 - server))
    round_trip, ahead = best
    return math.copysign(max(0.0, abs(ahead) - round_trip / 2), ahead)


def read_redis(client: Redis, clock: Clock = time.time) -> RedisReading:
    """Ask Redis how it is set up; it changes nothing."""
    server: Any = client.info("server")
    memory: Any = client.info("memory")
    persistence: Any = client.info("persistence")
    replication: Any = client.info("replication")
    agreed: Any = client.get(AGREEMENT)
    append_only = persistence.get("aof_enabled")
    valkey = server.get("valkey_version")
    most = int(memory.get("maxmemory") or 0)
    return RedisReading(
        product="Valkey" if valkey else "Redis",
        version=str(valkey or server.get("redis_version")),
        append_only=None if append_only is None else bool(append_only),
        eviction=memory.get("maxmemory_policy"),
        clock_ahead=clock_ahead(lambda: _redis_time(client), clock),
        visibility_timeout=int(agreed) if agreed is not None and agreed.isdigit() else None,
        role=replication.get("role"),
        mode=server.get("server_mode") or server.get("redis_mode"),
        writes_to_disk=persistence.get("aof_last_write_status", "ok") == "ok",
        memory_full=0 < most <= int(memory.get("used_memory") or 0),
        executable=server.get("executable"),
    )


def _redis_time(client: Redis) -> float:
    answer: Any = client.time()
    return float(answer[0]) + float(answer[1]) / 1e6


_ASK_DATABASE = """
SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only')::boolean AS read_only, current_schema() AS schema,
    (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()) AS encoding,
    has_table_privilege(to_regclass('summary'), 'INSERT') AS may_work, has_table_privilege(to_regclass('job'), 'INSERT') AS may_enqueue
"""
_ASK_TIME = "SELECT extract(epoch FROM clock_timestamp())"


def read_database(settings: Settings, clock: Clock = time.time) -> DatabaseReading:
    """Ask Postgres where its tables and its clock stand, and what this login may do."""
    from sqlalchemy import text

    from schemas.migrations import current, head
    from workers.store import connect

    engine = connect(settings.database(), statement_timeout=5, pool_size=1)
    try:
        with engine.connect() as connection:
            told = dict(connection.execute(text(_ASK_DATABASE)).mappings().one())
            ahead = clock_ahead(lambda: float(connection.execute(text(_ASK_TIME)).scalar_one()), clock)
        told["version"] = str(told["version"]).split()[0]
        return DatabaseReading(**told, revision=current(engine), head=head(), clock_ahead=ahead)
    finally:
        engine.dispose()


def append_only(reading: RedisReading) -> str | None:
    """A restart must not empty the queues."""
    if reading.append_only is not False:
        return None
    return f"{reading.product} keeps no append-only file, so a restart would empty the queues: start it with --appendonly yes"


def eviction(reading: RedisReading) -> str | None:
    """A full memory must not throw queues away."""
    if reading.eviction in (None, "noeviction"):
        return None
    return f"{reading.product} evicts keys (maxmemory-policy {reading.eviction}) and would lose queues: set it to noeviction"


def old_release(reading: RedisReading) -> str | None:
    """Whoever can write to the queues must not be able to run code in Redis."""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", reading.version)
    if numbers is None:
        return None
    major, minor, patch = map(int, numbers.groups())
    fixed = _FIXED[reading.product]
    if (major, minor) > max(fixed) or patch >= fixed.get((major, minor), math.inf):
        return None
    releases = ", ".join(f"{series[0]}.{series[1]}.{first}" for series, first in fixed.items())
    return (
        f"{reading.product} {reading.version} is open to CVE-2025-49844 (a script may run any code): bring it to {releases} or newer, "
        "or set TWEETMILL_ALLOW_OLD_REDIS=true if your distribution has mended it under the old number"
    )


def may_be_mended(reading: RedisReading) -> bool:
    """Whether a distribution or a service may have mended an old release under its number: it runs from where these install theirs."""
    return reading.executable is not None and not re.match(r"/(?:usr/local|opt|home|root|data|tmp|srv)/", reading.executable)


def replica(reading: RedisReading) -> str | None:
    """A replica takes no messages."""
    if reading.role in (None, "master", "primary"):
        return None
    return f"{reading.product} is a replica, which takes no messages: let CELERY_BROKER_URL name its primary"


def cluster(reading: RedisReading) -> str | None:
    """Celery's commands touch keys that a cluster spreads over several servers."""
    if reading.mode != "cluster":
        return None
    return f"{reading.product} runs in cluster mode, where queues would lie on several servers: use one without (cluster-enabled no)"


def disk_of_redis(reading: RedisReading) -> str | None:
    """What can't be written would be lost by a restart, and it takes no messages until then."""
    if reading.writes_to_disk is not False:
        return None
    return f"{reading.product} can't write its append-only file and takes no messages: make room on its disk"


def memory_of_redis(reading: RedisReading) -> str | None:
    """A full memory takes no messages."""
    if not reading.memory_full:
        return None
    return f"{reading.product}'s memory is full and it takes no messages: raise its maxmemory"


def visibility(reading: RedisReading, settings: Settings) -> str | None:
    """The shortest timeout of all workers on a Redis is the one that holds, so they must agree."""
    agreed = reading.visibility_timeout
    if agreed in (None, settings.visibility_timeout):
        return None
    return (
        f"the workers of this {reading.product} agreed on a visibility timeout of {agreed} s, here it is {settings.visibility_timeout} s: "
        f"set TWEETMILL_VISIBILITY_TIMEOUT alike everywhere, or stop them all for {AGREED_FOR} s to change it"
    )


def clock_of(server: str, ahead: float) -> str | None:
    """A worker that is ahead takes messages for lost that others are only just starting on."""
    if abs(ahead) <= CLOCK_TOLERANCE:
        return None
    direction = "ahead of" if ahead > 0 else "behind"
    return f"this machine's clock is {abs(ahead):.1f} s {direction} {server}'s: let NTP set both (timedatectl shows whether it does)"


def tables(reading: DatabaseReading) -> str | None:
    """The tables must be those that this code expects."""
    if reading.revision == reading.head:
        return None
    stand = "there are no tables yet" if reading.revision is None else f"the tables stand at {reading.revision}"
    return f"{stand}, this code expects {reading.head}: run `tweetmill migrate`"


def schema(reading: DatabaseReading) -> str | None:
    """Without a schema there is no place for tables."""
    if reading.schema is not None:
        return None
    return "Postgres: the search path names no schema that is there and that this login may use: CREATE SCHEMA it, and GRANT USAGE on it"


def writable(reading: DatabaseReading) -> str | None:
    """Every job ends with a write."""
    if reading.standby:
        return "Postgres is a standby, which takes no writes: let DATABASE_URL name the primary (target_session_attrs=read-write finds it)"
    if reading.read_only:
        return (
            "Postgres takes no writes here, since default_transaction_read_only is on: "
            "ALTER DATABASE or ALTER ROLE … RESET default_transaction_read_only"
        )
    return None


def encoding(reading: DatabaseReading) -> str | None:
    """Tweets hold every sign that there is."""
    if reading.encoding == "UTF8":
        return None
    return f"Postgres: the database's encoding is {reading.encoding}, which can't hold tweets: CREATE DATABASE … ENCODING 'UTF8'"


def rights(reading: DatabaseReading, for_worker: bool) -> str | None:
    """A login that can only read does no work; a producer's is enough to put jobs into the queue."""
    if reading.may_work is not False or (reading.may_enqueue and not for_worker):
        return None
    return "Postgres: this login may not do a worker's work: take one of the role tweetmill_worker, after `tweetmill migrate` by the owner"


def redis_findings(reading: RedisReading, settings: Settings) -> list[Finding]:
    """What of Redis keeps a worker from starting."""
    lasting = [
        append_only(reading),
        eviction(reading),
        replica(reading),
        cluster(reading),
        visibility(reading, settings),
        clock_of(reading.product, reading.clock_ahead),
    ]
    if not settings.allow_old_redis and not may_be_mended(reading):
        lasting.append(old_release(reading))
    passing = [disk_of_redis(reading), memory_of_redis(reading)]
    return _findings(lasting, passing)


def database_findings(reading: DatabaseReading, for_worker: bool) -> list[Finding]:
    """What of Postgres keeps a worker from starting; without `for_worker`, what keeps all workers from it, whatever their login."""
    lasting = [
        schema(reading),
        tables(reading) if reading.schema else None,
        encoding(reading),
        rights(reading, for_worker),
        clock_of("Postgres", reading.clock_ahead),
    ]
    return _findings(lasting, [writable(reading)])


def machine_findings(settings: Settings) -> list[Finding]:
    """What of this machine keeps a worker from starting."""
    folder = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    lasting = None
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        lasting = "TWEETMILL_HOME can't be written by this user: give it to them, or name another folder"
    free = shutil.disk_usage(folder).free
    full = f"the disk of TWEETMILL_HOME is full ({free // 2**20} MiB free): make room" if free < _LEAST_FREE else None
    return _findings([lasting], [full])


def _findings(lasting: Iterable[str | None], passing: Iterable[str | None]) -> list[Finding]:
    return [*(Finding(text) for text in lasting if text), *(Finding(text, passes=True) for text in passing if text)]


def redis_warnings(reading: RedisReading) -> list[str]:
    """What of Redis somebody should look at, though workers start."""
    old = old_release(reading)
    return [old] if old else []
