"""Check the servers and this machine before a worker takes a job: all that `workers.readiness.checks` lists.

A worker that starts in spite of a finding would lose messages, run jobs twice, or fail in the middle of one. `workers/app.py` calls
`pass_or_exit` on Celery's signal `worker_init`, so that every way of starting a worker goes through it.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from workers.broker import broker_client
from workers.connections.server_errors import Reason, of_postgres, of_redis
from workers.errors import NotReady, SettingsError, TweetmillError, Unavailable
from workers.readiness.checks import database_findings, machine_findings, redis_findings, redis_warnings
from workers.readiness.clock_skew import Clock
from workers.readiness.postgres import DatabaseReading, read_database
from workers.readiness.redis import AGREED_FOR, AGREEMENT, RedisReading, read_redis
from workers.redaction import first_line
from workers.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

_RENEWED_EVERY = 20.0
_LONGEST_WAIT = 5.0


def check(settings: Settings, clock: Clock = time.time) -> list[str]:
    """Refuse to start a worker that would lose messages, run jobs twice, or fail in the middle of one.

    Returns:
        What somebody should look at, though workers start.

    Raises:
        NotReady: naming each reason and its cure.
        SettingsError: a server is not named, or refuses our password.
        Unavailable: a server does not answer, or takes nothing at the moment.
    """
    redis = ask_redis(settings, clock, agreeing=True)
    database = ask_database(settings, clock)
    found = [*redis_findings(redis, settings), *database_findings(database, for_worker=True), *machine_findings(settings)]
    if found:
        kind = Unavailable if all(finding.passes for finding in found) else NotReady
        raise kind("; ".join(finding.text for finding in found))
    return redis_warnings(redis)


def ask_redis(settings: Settings, clock: Clock = time.time, *, agreeing: bool = False) -> RedisReading:
    """Ask Redis how it is set up; with `agreeing`, and if it is fit for a worker, agree on the visibility timeout.

    Raises:
        SettingsError: the address is wrong, or user or password are refused.
        NotReady: it would refuse the next time, too.
        Unavailable: it does not answer.
    """
    from redis.exceptions import NoPermissionError, RedisError

    try:
        with broker_client(settings) as client:
            reading = read_redis(client, clock)
            if not agreeing or redis_findings(reading, settings):
                return reading
            return replace(reading, visibility_timeout=agree(client, settings.visibility_timeout))
    except NoPermissionError as error:
        reason = first_line(error)
        raise NotReady(f"the Redis user may do too little ({reason}): give it the rights of deploy/redis/users.acl.in") from None
    except (RedisError, OSError, UnicodeError) as error:
        raise _no_answer("Redis", of_redis(error)) from None


def ask_database(settings: Settings, clock: Clock = time.time) -> DatabaseReading:
    """Ask Postgres where its tables and its clock stand.

    Raises:
        SettingsError: the address is wrong, or user or password are refused.
        NotReady: it would refuse the next time, too.
        Unavailable: it does not answer.
    """
    from psycopg import Error
    from sqlalchemy.exc import DBAPIError

    try:
        return read_database(settings, clock)
    except (DBAPIError, Error) as error:
        raise _no_answer("Postgres", of_postgres(error)) from None


def _no_answer(server: str, reason: Reason) -> TweetmillError:
    """Return the error for a server that refused us or did not answer: a refusal will be the same the next time."""
    kind = SettingsError if reason.login else NotReady if reason.for_good else Unavailable
    return kind(reason.sentence_of(server))


def agree(client: Redis, timeout: int) -> int | None:
    """Propose our visibility timeout where none is agreed on, and let the one that stands live on if it is ours; return it."""
    client.set(AGREEMENT, timeout, nx=True, ex=AGREED_FOR)
    agreed: Any = client.get(AGREEMENT)
    if agreed is None or not agreed.isdigit():
        return None
    if int(agreed) == timeout:
        client.expire(AGREEMENT, AGREED_FOR)
    return int(agreed)


def keep_agreement(settings: Settings, every: float = _RENEWED_EVERY) -> threading.Event:
    """Start a thread that renews the agreed timeout in Redis each `every` seconds, until this process ends or the event is set."""
    stop = threading.Event()

    def keep() -> None:
        from redis.exceptions import RedisError

        while not stop.wait(every):
            try:
                with broker_client(settings) as client:
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
            for warning in check(settings):
                # Celery sets its logging up later.
                sys.stderr.write(f"tweetmill: warning: {warning}\n")
            break
        except Unavailable as error:
            sys.stderr.write(f"tweetmill: {error}. Trying again\n")
            time.sleep(wait)
            wait = min(_LONGEST_WAIT, wait * 2)
        except TweetmillError as error:
            sys.stderr.write(f"tweetmill: {error}\n")
            raise SystemExit(1) from None
    keep_agreement(settings)
