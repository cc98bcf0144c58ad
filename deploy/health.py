"""Collect what `tweetmill status` shows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import flower
from deploy.local.home import Home
from schemas.payloads import Queue
from workers.broker import broker_client
from workers.errors import TweetmillError
from workers.readiness import checks as readiness
from workers.readiness import startup
from workers.redaction import first_line, redact
from workers.settings import Settings

if TYPE_CHECKING:
    from redis import Redis

Reading = dict[str, Any]

# A worker that waits takes a message within milliseconds.
_LOOKS, _LOOK_EVERY = 12, 0.25


def status(settings: Settings, home: Home) -> Reading:
    """Return everything at once, as JSON-like values; what can't be read carries an `error`."""
    stack = home.read_stack()
    supervisor = _supervisor(home)
    broker = _asked(lambda: broker_reading(settings))
    database = _asked(lambda: database_reading(settings))
    workers = known_workers(settings) if database["answers"] else []
    stuck = idle_beside_messages(settings, workers) if broker["answers"] else []
    machine = (finding.text for finding in readiness.machine_findings(settings))
    problems = [*broker["problems"], *database["problems"], *machine, *stuck]
    stay = any(not worker["draining"] for worker in workers)
    return {
        "home": str(home.path),
        "supervisor": supervisor,
        "ready": bool(broker["answers"] and database["answers"] and stay and not problems),
        "redis": broker,
        "postgres": database,
        "problems": problems,
        "warnings": broker.get("warnings", []),
        "workers": workers,
        "processes": stack.get("processes", []) if supervisor else [],
        "flower": {
            "url": stack.get("flower") if supervisor else None,
            "user": settings.flower_user,
            "password_file": _shown(flower.password_file(settings, home)),
        },
        "disk_free_gib": _free_gib(home),
    }


def _shown(password_file: Path) -> str | None:
    # What is no file may be the password itself.
    return str(password_file) if password_file.is_file() else None


def _free_gib(home: Home) -> float:
    existing = next(folder for folder in (home.path, *home.path.parents) if folder.exists())
    return round(shutil.disk_usage(existing).free / 2**30, 1)


def _supervisor(home: Home) -> int | None:
    if not home.lock_file.exists():
        return None
    from deploy.local.finding import supervisor_of  # a node without a stack of its own needs none of this

    process = supervisor_of(home)
    return process.pid if process else None


def _asked(ask: Callable[[], Reading]) -> Reading:
    try:
        return {"answers": True, **ask()}
    except Exception as error:  # whatever it is, it is the answer to "how is it?"
        return {"answers": False, "error": redact(str(error)) if isinstance(error, TweetmillError) else first_line(error), "problems": []}


def broker_reading(settings: Settings) -> Reading:
    """Return version, time to answer in ms, what a start of a worker looks at, and how many messages each queue holds."""
    reading = startup.ask_redis(settings)
    with broker_client(settings) as client:
        begun = time.perf_counter()
        client.ping()
        milliseconds = (time.perf_counter() - begun) * 1000
        return {
            **asdict(reading),
            "ms": round(milliseconds, 2),
            "clock_ahead": round(reading.clock_ahead, 3),
            "queues": _lengths(client),
            "problems": [*(finding.text for finding in readiness.redis_findings(reading, settings)), *_misplaced(client)],
            "warnings": readiness.redis_warnings(reading),
        }


def _lengths(client: Redis) -> dict[str, int]:
    """Return how many messages each queue holds; none where something else lies in its place."""
    with client.pipeline(transaction=False) as pipe:
        for queue in Queue:
            pipe.llen(queue.value)
        lengths = pipe.execute(raise_on_error=False)
    return {queue.value: length if isinstance(length, int) else 0 for queue, length in zip(Queue, lengths, strict=True)}


def _misplaced(client: Redis) -> list[str]:
    from workers.connections.broker_keys import misplaced

    return [f"{key} in Redis holds something else than it is for: a worker that runs removes it" for key in misplaced(client, set(Queue))]


def idle_beside_messages(settings: Settings, workers: list[Reading]) -> list[str]:
    """Return workers that hold no job and take none of the messages that wait for them, looked at for longer than a healthy one needs."""
    idle = {worker["name"]: set(worker["queues"]) for worker in workers if not worker["draining"] and not worker["jobs"]}
    with broker_client(settings) as client:
        lengths = _lengths(client)
        stuck = {queue for queue, length in lengths.items() if length}
        for _ in range(_LOOKS):
            if not any(stuck & queues for queues in idle.values()):
                return []
            time.sleep(_LOOK_EVERY)
            now = _lengths(client)
            stuck = {queue for queue in stuck if now[queue] >= lengths[queue]}
            lengths = now
    still = {worker["name"] for worker in known_workers(settings) if not worker["jobs"]}
    return [
        f"{name} takes nothing, though messages wait in {', '.join(sorted(stuck & queues))}: its log says why, and a restart helps"
        for name, queues in idle.items()
        if name in still and stuck & queues
    ]


def database_reading(settings: Settings) -> Reading:
    """Return version, time to answer in ms, where the tables stand, and how far our clock is from its own."""
    from sqlalchemy import text

    from workers.database import connect

    reading = startup.ask_database(settings)
    engine = connect(settings.database(), statement_timeout=5, pool_size=1)
    try:
        with engine.connect() as connection:
            begun = time.perf_counter()
            connection.execute(text("SELECT 1"))
            milliseconds = (time.perf_counter() - begun) * 1000
    finally:
        engine.dispose()
    return {
        **asdict(reading),
        "ms": round(milliseconds, 2),
        "clock_ahead": round(reading.clock_ahead, 3),
        "problems": [finding.text for finding in readiness.database_findings(reading, for_worker=False)],
    }


def live_workers(settings: Settings) -> list[Reading]:
    """Return the workers that said within half a minute that they live, on whatever machine."""
    from workers.database import connect
    from workers.jobs import worker_registry

    engine = connect(settings.database(), statement_timeout=5, pool_size=1)
    try:
        with engine.connect() as connection:
            return [asdict(worker) for worker in worker_registry.live(connection)]
    finally:
        engine.dispose()


def known_workers(settings: Settings) -> list[Reading]:
    """Return the live workers; none where Postgres can't tell, or has no tables yet."""
    try:
        return live_workers(settings)
    except Exception:  # whatever it is, `database_reading` says it
        return []
