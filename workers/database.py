"""Connects to Postgres: one engine a process, transactions, sessions, and bulk copies."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidatePoolError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from workers import clock
from workers.connections.database_sessions import keep_settings, parse_options
from workers.connections.server_errors import of_postgres
from workers.errors import Unavailable
from workers.settings import Settings, get_settings

# The server is up, and cancelled a statement that took too long: it would the next time as well.
_STATEMENT_TIMEOUT = "57014"
# It is read-only now: it is about to become the primary server, or its disk is full.
_READ_ONLY = "25006"
# A row refers to one that is not there.
_FOREIGN_KEY = "23503"
_TRIES_WHILE_DELETED = 5
_IDLE = 1.0  # seconds after which a connection is tested before it is used

# In milliseconds; a statement's own timeout beside them.
_TIMEOUTS = {"lock_timeout": "15000", "idle_in_transaction_session_timeout": "120000"}
_CONNECT_ARGUMENTS = {
    "connect_timeout": 5,
    "application_name": "tweetmill",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def connect(url: str, *, statement_timeout: float = 60.0, pool_size: int = 4) -> Engine:
    """Return an engine that never prints parameters (they may be tweets) and never waits for ever.

    Args:
        url: SQLAlchemy URL, `postgresql+psycopg://…`; its own options of the session take precedence.
        statement_timeout: seconds that one statement may take.
        pool_size: connections kept open.
    """
    address = make_url(url)
    query = dict(address.query)
    given = str(query.pop("options", ""))
    engine = create_engine(
        address.set(query=query),
        hide_parameters=True,
        pool_size=pool_size,
        connect_args={name: value for name, value in _CONNECT_ARGUMENTS.items() if name not in query},
    )
    ours = {"statement_timeout": str(math.ceil(statement_timeout * 1000)), **_TIMEOUTS}
    keep_settings(engine, ours | parse_options(given), at_start="service" not in query)
    _test_when_idle(engine)
    return engine


def _test_when_idle(engine: Engine) -> None:
    """Test a connection that was idle before it is used, since its server may have gone: the pool then opens new ones.

    SQLAlchemy's own test, `pool_pre_ping`, costs every transaction a round trip.
    """

    def note_checkin(_: Any, record: ConnectionPoolEntry) -> None:
        record.info["idle_since"] = clock.now()

    def test(connection: Any, record: ConnectionPoolEntry, _: Any) -> None:
        if clock.now() - record.info.get("idle_since", math.inf) < _IDLE:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error

    event.listen(engine, "checkin", note_checkin)
    event.listen(engine, "checkout", test)


@lru_cache(maxsize=1)
def _engine(url: str, statement_timeout: float, pid: int) -> Engine:
    del pid  # only part of the cache key: a fork must not share its parent's connections
    return connect(url, statement_timeout=statement_timeout)


def get_engine(settings: Settings | None = None) -> Engine:
    """Return this process's engine. A forked child gets its own: processes must never share a connection."""
    settings = settings or get_settings()
    return _engine(settings.database(), settings.statement_timeout, os.getpid())


@contextmanager
def transaction(engine: Engine | None = None) -> Iterator[Connection]:
    """Open a transaction, which is committed at the end of the block and rolled back on any error.

    Raises:
        Unavailable: when Postgres does not answer, or takes no writes.
    """
    try:
        with (engine or get_engine()).begin() as connection:
            yield connection
    except DBAPIError as error:
        if not _is_temporary(error):
            raise
        raise Unavailable(of_postgres(error).sentence_of("Postgres")) from error


@contextmanager
def session(engine: Engine | None = None) -> Iterator[Session]:
    """Open a transaction as a session of SQLModel, flushed and committed at the end of the block and rolled back on any error.

    The objects that it returned stay readable after the commit, and nothing is read again for it. A long stream must be read within the
    block, or the transaction would stay open: take the rows out, then yield them.

    Raises:
        Unavailable: as `transaction`.
    """
    with transaction(engine) as connection, session_on(connection) as opened:
        yield opened


@contextmanager
def session_on(connection: Connection) -> Iterator[Session]:
    """Open a session in the transaction of a connection, flushed at the end of the block; whoever began the transaction commits it."""
    with Session(connection, expire_on_commit=False) as opened:
        yield opened
        opened.flush()


def insert_what_stays(connection: Connection, statement: str, values: Mapping[str, Any]) -> CursorResult[Any]:
    """Execute an insert that selects only rows which are there, of what they belong to; once more where one of those is deleted meanwhile.

    Postgres checks a foreign key when the statement is done: a row that went between its snapshot and that check would end the transaction.
    A lock would need the right to change what is only read.

    Raises:
        IntegrityError: rows still went at the last try.
    """
    for left in reversed(range(_TRIES_WHILE_DELETED)):
        try:
            with connection.begin_nested():
                return connection.execute(text(statement), values)
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != _FOREIGN_KEY or not left:
                raise
    raise AssertionError


def copy_rows(connection: Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Send rows by `COPY … FROM STDIN`; psycopg escapes tabs, newlines and backslashes."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _is_temporary(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    return state == _READ_ONLY or (isinstance(error, OperationalError) and state != _STATEMENT_TIMEOUT)
