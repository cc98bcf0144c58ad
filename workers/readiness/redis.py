"""Ask Redis how it is set up, and check what of it would lose messages: one function a check, which returns a sentence or None.

`workers.readiness.checks` makes the list of what keeps a worker from starting.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.readiness.clock_skew import Clock, clock_ahead
from workers.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

AGREEMENT = "tweetmill.visibility_timeout"
"""The key in Redis under which live workers keep the visibility timeout that they agreed on."""

AGREED_FOR = 60
"""Seconds that the key outlives the last of them."""

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


def append_only(reading: RedisReading) -> str | None:
    """Check that a restart does not empty the queues."""
    if reading.append_only is not False:
        return None
    return f"{reading.product} keeps no append-only file, so a restart would empty the queues: start it with --appendonly yes"


def eviction(reading: RedisReading) -> str | None:
    """Check that a full memory does not throw queues away."""
    if reading.eviction in (None, "noeviction"):
        return None
    return f"{reading.product} evicts keys (maxmemory-policy {reading.eviction}) and would lose queues: set it to noeviction"


def old_release(reading: RedisReading) -> str | None:
    """Check that who can write to the queues can't run code in Redis."""
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
        "or set TWEETMILL_ALLOW_OLD_REDIS=true if your distribution has patched it under the old number"
    )


def may_be_patched(reading: RedisReading) -> bool:
    """Return whether a distribution or a service may have patched an old release under its number.

    Either runs it from where packages are installed, or does not say from where. What lies elsewhere somebody put there by hand.
    """
    return re.match(r"/(?:usr/local|opt|home|root|data|tmp|srv)/", reading.executable or "") is None


def replica(reading: RedisReading) -> str | None:
    """Check that it is no replica, which takes no messages."""
    if reading.role in (None, "master", "primary"):
        return None
    return f"{reading.product} is a replica, which takes no messages: let CELERY_BROKER_URL name its primary"


def cluster(reading: RedisReading) -> str | None:
    """Check that it is no cluster, which spreads the keys of Celery's commands over several servers."""
    if reading.mode != "cluster":
        return None
    return f"{reading.product} runs in cluster mode, where queues would lie on several servers: use one without (cluster-enabled no)"


def disk_of_redis(reading: RedisReading) -> str | None:
    """Check that it can write: it takes no messages otherwise, and a restart would lose what it holds."""
    if reading.writes_to_disk is not False:
        return None
    return f"{reading.product} can't write its append-only file and takes no messages: make room on its disk"


def memory_of_redis(reading: RedisReading) -> str | None:
    """Check that its memory has room for messages."""
    if not reading.memory_full:
        return None
    return f"{reading.product}'s memory is full and it takes no messages: raise its maxmemory"


def visibility(reading: RedisReading, settings: Settings) -> str | None:
    """Check that all workers of a Redis have the same timeout, since the shortest of them is the one that holds."""
    agreed = reading.visibility_timeout
    if agreed in (None, settings.visibility_timeout):
        return None
    return (
        f"the workers of this {reading.product} agreed on a visibility timeout of {agreed} s, here it is {settings.visibility_timeout} s: "
        f"set TWEETMILL_VISIBILITY_TIMEOUT alike everywhere, or stop them all for {AGREED_FOR} s to change it"
    )
