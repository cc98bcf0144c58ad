"""List what of Redis, Postgres and this machine keeps a worker from starting.

`tweetmill status` shows the same findings. The single checks and their words are in `redis.py`, `postgres.py` and `clock_skew.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from workers.readiness import postgres as postgres_checks
from workers.readiness import redis as redis_checks
from workers.readiness.clock_skew import clock_of
from workers.readiness.postgres import DatabaseReading
from workers.readiness.redis import RedisReading
from workers.settings import Settings

_LEAST_FREE = 256 * 2**20  # bytes of the state folder's disk


@dataclass(frozen=True)
class Finding:
    """Something that keeps a worker from starting.

    Attributes:
        text: what is wrong and what helps.
        passes: it may end by itself or by somebody's hand while a worker waits.
    """

    text: str
    passes: bool = False


def redis_findings(reading: RedisReading, settings: Settings) -> list[Finding]:
    """Return what of Redis keeps a worker from starting."""
    lasting = [
        redis_checks.append_only(reading),
        redis_checks.eviction(reading),
        redis_checks.replica(reading),
        redis_checks.cluster(reading),
        redis_checks.visibility(reading, settings),
        clock_of(reading.product, reading.clock_ahead),
    ]
    if not settings.allow_old_redis and not redis_checks.may_be_patched(reading):
        lasting.append(redis_checks.old_release(reading))
    passing = [redis_checks.disk_of_redis(reading), redis_checks.memory_of_redis(reading)]
    return _findings(lasting, passing)


def database_findings(reading: DatabaseReading, for_worker: bool) -> list[Finding]:
    """Return what of Postgres keeps a worker from starting; without `for_worker`, what keeps all workers from it, whatever their login."""
    lasting = [
        postgres_checks.schema(reading),
        postgres_checks.tables(reading) if reading.schema else None,
        postgres_checks.encoding(reading),
        postgres_checks.rights(reading, for_worker),
        clock_of("Postgres", reading.clock_ahead),
    ]
    return _findings(lasting, [postgres_checks.writable(reading)])


def machine_findings(settings: Settings) -> list[Finding]:
    """Return what of this machine keeps a worker from starting."""
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
    """Return what of Redis somebody should look at, though workers start."""
    old = redis_checks.old_release(reading)
    return [old] if old else []
