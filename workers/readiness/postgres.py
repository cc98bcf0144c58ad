"""Ask Postgres where its tables stand and what this login may do, and check what of it fails jobs: one function a check.

Each returns a sentence, or None where nothing is wrong.

`workers.readiness.checks` makes the list of what keeps a worker from starting.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from workers.readiness.clock_skew import Clock, clock_ahead
from workers.settings import Settings


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
    from workers.database import connect

    engine = connect(settings.database(), statement_timeout=5, pool_size=1)
    try:
        with engine.connect() as connection:
            answer = dict(connection.execute(text(_ASK_DATABASE)).mappings().one())
            ahead = clock_ahead(lambda: float(connection.execute(text(_ASK_TIME)).scalar_one()), clock)
        answer["version"] = str(answer["version"]).split()[0]
        return DatabaseReading(**answer, revision=current(engine), head=head(), clock_ahead=ahead)
    finally:
        engine.dispose()


def tables(reading: DatabaseReading) -> str | None:
    """Check that the tables are those that this code expects."""
    if reading.revision == reading.head:
        return None
    stand = "there are no tables yet" if reading.revision is None else f"the tables stand at {reading.revision}"
    return f"{stand}, this code expects {reading.head}: run `tweetmill migrate`"


def schema(reading: DatabaseReading) -> str | None:
    """Check that there is a schema for the tables."""
    if reading.schema is not None:
        return None
    return "Postgres: the search path names no schema that is there and that this login may use: CREATE SCHEMA it, and GRANT USAGE on it"


def writable(reading: DatabaseReading) -> str | None:
    """Check that it takes writes: every job ends with one."""
    if reading.standby:
        return "Postgres is a standby, which takes no writes: let DATABASE_URL name the primary (target_session_attrs=read-write finds it)"
    if reading.read_only:
        return (
            "Postgres takes no writes here, since default_transaction_read_only is on: "
            "ALTER DATABASE or ALTER ROLE … RESET default_transaction_read_only"
        )
    return None


def encoding(reading: DatabaseReading) -> str | None:
    """Check that the encoding can hold tweets."""
    if reading.encoding == "UTF8":
        return None
    return f"Postgres: the database's encoding is {reading.encoding}, which can't hold tweets: CREATE DATABASE … ENCODING 'UTF8'"


def rights(reading: DatabaseReading, for_worker: bool) -> str | None:
    """Check that this login may do a worker's work; without `for_worker`, at least a producer's, which is to put jobs into the queue."""
    if reading.may_work is not False or (reading.may_enqueue and not for_worker):
        return None
    return "Postgres: this login may not do a worker's work: take one of the role tweetmill_worker, after `tweetmill migrate` by the owner"
