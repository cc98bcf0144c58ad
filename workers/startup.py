"""What a worker makes sure of before it takes a job: each check is one small function that says what is wrong and what helps.

A worker that starts in spite of one of these would lose messages, run jobs twice, or fail in the middle of one. The readings are
shown by `tweetmill status` as well. `workers/app.py` calls `pass_or_exit` on Celery's signal `worker_init`, so that every way of
starting a worker goes through it.
"""

from __future__ import annotations

import logging
import math
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workers.broker import connect_as_told
from workers.errors import NotReady, SettingsError, TweetmillError, Unavailable
from workers.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger(__name__)

Clock = Callable[[], float]

CLOCK_TOLERANCE = 1.0
"""Seconds by which a worker's clock may differ from a server's."""

AGREEMENT = "tweetmill.visibility_timeout"
"""The key in Redis under which live workers keep the visibility timeout that they agreed on."""

_AGREED_FOR = 60  # seconds that the key outlives the last of them
_RENEWED_EVERY = 20.0
_LONGEST_WAIT = 5.0
_FOR_GOOD = re.compile(r"authentication failed|certificate|CERTIFICATE|does not exist|permission denied")

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


@dataclass(frozen=True)
class DatabaseReading:
    """What Postgres says of itself."""

    version: str
    revision: str | None
    head: str
    clock_ahead: float


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
    agreed: Any = client.get(AGREEMENT)
    append_only = persistence.get("aof_enabled")
    valkey = server.get("valkey_version")
    return RedisReading(
        product="Valkey" if valkey else "Redis",
        version=str(valkey or server.get("redis_version")),
        append_only=None if append_only is None else bool(append_only),
        eviction=memory.get("maxmemory_policy"),
        clock_ahead=clock_ahead(lambda: _redis_time(client), clock),
        visibility_timeout=None if agreed is None else int(agreed),
    )


def _redis_time(client: Redis) -> float:
    answer: Any = client.time()
    return float(answer[0]) + float(answer[1]) / 1e6


def read_database(settings: Settings, clock: Clock = time.time) -> DatabaseReading:
    """Ask Postgres where its tables and its clock stand."""
    from sqlalchemy import text

    from schemas.migrations import current, head
    from workers.store import connect

    engine = connect(settings.database(), statement_timeout=5, pool_size=1)
    try:
        with engine.connect() as connection:
            version = str(connection.execute(text("SHOW server_version")).scalar_one())
            ahead = clock_ahead(lambda: float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()), clock)
        return DatabaseReading(version=version.split()[0], revision=current(engine), head=head(), clock_ahead=ahead)
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


def visibility(reading: RedisReading, settings: Settings) -> str | None:
    """The shortest timeout of all workers on a Redis is the one that holds, so they must agree."""
    agreed = reading.visibility_timeout
    if agreed in (None, settings.visibility_timeout):
        return None
    return (
        f"the workers of this {reading.product} agreed on a visibility timeout of {agreed} s, here it is {settings.visibility_timeout} s: "
        f"set TWEETMILL_VISIBILITY_TIMEOUT alike everywhere, or stop them all for {_AGREED_FOR} s to change it"
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
    return f"the tables stand at {reading.revision}, this code expects {reading.head}: run `tweetmill migrate`"


def redis_problems(reading: RedisReading, settings: Settings) -> list[str]:
    """What of Redis keeps a worker from starting."""
    found = [append_only(reading), eviction(reading), visibility(reading, settings), clock_of(reading.product, reading.clock_ahead)]
    if not settings.allow_old_redis:
        found.append(old_release(reading))
    return [problem for problem in found if problem]


def database_problems(reading: DatabaseReading) -> list[str]:
    """What of Postgres keeps a worker from starting."""
    return [problem for problem in (tables(reading), clock_of("Postgres", reading.clock_ahead)) if problem]


def check(settings: Settings, clock: Clock = time.time) -> None:
    """Refuse to start a worker that would lose messages, run jobs twice, or fail in the middle of one.

    Raises:
        NotReady: naming each reason and its cure.
        SettingsError: a server is not named, or refuses our password.
        Unavailable: a server does not answer.
    """
    redis = _asked_redis(settings, clock)
    database = _asked_database(settings, clock)
    problems = redis_problems(redis, settings) + database_problems(database)
    if problems:
        raise NotReady("; ".join(problems))
    old = old_release(redis)
    if old:
        logger.warning("allowed by TWEETMILL_ALLOW_OLD_REDIS: %s", old)


def _asked_redis(settings: Settings, clock: Clock) -> RedisReading:
    from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

    try:
        with connect_as_told(settings) as client:
            agree(client, settings.visibility_timeout)
            return read_redis(client, clock)
    except AuthenticationError:
        raise SettingsError("Redis refuses the user or password: check CELERY_BROKER_URL and TWEETMILL_BROKER_PASSWORD_FILE") from None
    except NoPermissionError as error:
        raise NotReady(f"the Redis user may do too little ({error}): give it the rights of deploy/redis/users.acl.in") from None
    except RedisError as error:
        raise _no_answer("Redis", str(error), "CELERY_BROKER_URL") from None


def _asked_database(settings: Settings, clock: Clock) -> DatabaseReading:
    from sqlalchemy.exc import OperationalError

    try:
        return read_database(settings, clock)
    except OperationalError as error:
        raise _no_answer("Postgres", str(error.orig), "DATABASE_URL") from None


def _no_answer(server: str, reason: str, setting: str) -> TweetmillError:
    """A refusal will be the same the next time; a server that is away comes back."""
    first_line = (reason.strip().splitlines() or ["no reason given"])[0]
    kind = NotReady if _FOR_GOOD.search(reason) else Unavailable
    return kind(f"{server} does not answer ({first_line}): check {setting}, and that the server is up")


def agree(client: Redis, timeout: int) -> None:
    """Propose our visibility timeout where none is agreed on, and let the one that stands live on if it is ours."""
    client.set(AGREEMENT, timeout, nx=True, ex=_AGREED_FOR)
    agreed: Any = client.get(AGREEMENT)
    if agreed is not None and int(agreed) == timeout:
        client.expire(AGREEMENT, _AGREED_FOR)


def keep_agreement(settings: Settings, every: float = _RENEWED_EVERY) -> threading.Event:
    """From a thread, keep the agreed timeout in Redis, every so many seconds, until this process ends or the event is set."""
    stop = threading.Event()

    def keep() -> None:
        from redis.exceptions import RedisError

        while not stop.wait(every):
            try:
                with connect_as_told(settings) as client:
                    agree(client, settings.visibility_timeout)
            except RedisError:  # Celery itself says that Redis is away; the next round tries again
                continue

    threading.Thread(target=keep, name="agreement", daemon=True).start()
    return stop


def pass_or_exit(settings: Settings) -> None:
    """Return when a worker may start; wait for servers that do not answer; else end this process with one sentence and exit code 1."""
    wait = 0.5
    while True:
        try:
            check(settings)
            break
        except Unavailable as error:
            sys.stderr.write(f"tweetmill: {error}. Trying again\n")
            time.sleep(wait)
            wait = min(_LONGEST_WAIT, wait * 2)
        except TweetmillError as error:
            sys.stderr.write(f"tweetmill: {error}\n")
            raise SystemExit(1) from None
    keep_agreement(settings)
