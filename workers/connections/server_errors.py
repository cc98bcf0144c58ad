"""Turn the errors of Postgres, Redis and their drivers into a sentence: what is wrong, and what helps.

Their own words quote hosts, users and, where an address is written wrongly, passwords. So the kind of the failure is
recognised, and only an unknown one is shown as it stands, without secrets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from schemas.addresses.parsing import ENCODE
from workers.redaction import first_line


@dataclass(frozen=True)
class Reason:
    """Why a server did not do what it was asked.

    Attributes:
        text: the end of a sentence that begins with the server's name.
        for_good: it will be the same the next time, until somebody changes something.
        login: user or password are refused.
        answered: it works, and refused this one thing.
        is_known: it is of a kind that this module knows; else `text` is what the server said.
    """

    text: str
    for_good: bool = False
    login: bool = False
    answered: bool = False
    is_known: bool = True

    def sentence_of(self, server: str) -> str:
        """Return a sentence: which server, what is wrong, and where to look."""
        setting, password_file = _SETTINGS[server]
        if self.login:
            return f"{server} {self.text.removeprefix('it ')}: check {setting} and {password_file}"
        if self.answered:
            return f"{server}: {self.text}"
        if self.for_good:
            return f"{server} can't be used ({self.text}): check {setting}"
        return f"{server} does not answer ({self.text}): check {setting}, and that the server is up; `tweetmill status` tells"


_SETTINGS = {
    "Redis": ("CELERY_BROKER_URL", "TWEETMILL_BROKER_PASSWORD_FILE"),
    "Postgres": ("DATABASE_URL", "TWEETMILL_DATABASE_PASSWORD_FILE"),
}


Kinds = tuple[tuple[re.Pattern[str], Reason], ...]


def _kinds(*kinds: tuple[str, Reason]) -> Kinds:
    return tuple((re.compile(pattern, re.IGNORECASE), reason) for pattern, reason in kinds)


_LOST_NAME = Reason(f"its host's name can't be resolved; {ENCODE}")
_NOBODY = Reason("nobody listens at its address")
_SLOW = Reason("no answer in time")
_NO_SOCKET = Reason("its socket is not there")
_CLOSED_SOCKET = Reason("this user may not open its socket", for_good=True)
_UNREACHABLE = Reason("no way leads to its host")

POOLER = (
    "a pooler stands before it and refuses what a session begins with: let it ignore that (in PgBouncer "
    "`ignore_startup_parameters = options`), or name Postgres itself"
)

_OF_POSTGRES = _kinds(
    (r"failed to resolve|could not translate host name|name resolution|Name or service not known", _LOST_NAME),
    (r"unsupported startup parameter", Reason(POOLER, for_good=True)),
    (r"password authentication failed|authentication failed", Reason("it refuses the user or password", for_good=True, login=True)),
    (r"no password supplied|password is required", Reason("it asks for a password, and there is none", for_good=True, login=True)),
    (r"no pg_hba\.conf entry|pg_hba\.conf rejects", Reason("its pg_hba.conf lets no such connection in", for_good=True)),
    (r"role \"[^\"]*\" (?:does not exist|is not permitted)", Reason("there is no such user that may log in", for_good=True)),
    (r"database \"[^\"]*\" does not exist|no such database", Reason("there is no such database: create it first", for_good=True)),
    (r"permission denied for database", Reason("this user may not connect to the database", for_good=True)),
    (r"server does not support SSL", Reason("it speaks no TLS, and sslmode demands it", for_good=True)),
    (r"root certificate file .* does not exist", Reason("the file of sslrootcert is not there", for_good=True)),
    (r"definition of service .* not found|service file .* not found", Reason("there is no such service", for_good=True)),
    (r"invalid value for parameter|unrecognized configuration parameter",
     Reason("one of the options of a session is unknown, or has a value that it can't take", for_good=True)),
    (r"invalid \S+ value:|invalid integer value|invalid channel_binding|bad value for",
     Reason("an option has a value that libpq can't take", for_good=True)),
    (r"invalid response to SSL|expected authentication request|unexpected message|lost synchronization|invalid port",
     Reason("what answers there is no Postgres", for_good=True)),
    (r"session is (?:not )?(?:read-write|read-only|a standby|in hot standby)|server is (?:not )?in hot standby",
     Reason("none of its servers is as target_session_attrs wants it")),
    (r"too many connections|too many clients|connection slots are reserved|no more connections allowed|max_client_conn",
     Reason("all its connections are taken")),
    (r"starting up|shutting down|recovery mode|not yet accepting", Reason("it is starting or stopping")),
    (r"Connection refused", _NOBODY),
    (r"No such file or directory|Is the server running locally", _NO_SOCKET),
    (r"socket.*Permission denied|Permission denied.*socket", _CLOSED_SOCKET),
    (r"timeout expired|timed out", _SLOW),
    (r"No route to host|Network is unreachable", _UNREACHABLE),
    (r"server closed the connection|connection reset|EOF detected|the connection is closed|consuming input failed",
     Reason("it closed the connection")),
    (r"current transaction is aborted|prepared statement", Reason(
        "a pooler in transaction mode loses prepared statements: let it refuse `options`, which tweetmill notices, or use session mode",
        for_good=True)),
)  # fmt: skip
_BY_STATE = {
    "25006": Reason("it takes no writes now: `tweetmill status` tells why", answered=True),
    "53100": Reason("its disk is full", answered=True),
    "53200": Reason("its memory is used up", answered=True),
    "53300": Reason("all its connections are taken"),
    "57P01": Reason("it is stopping"),
    "57P03": Reason("it is starting or stopping"),
    "57014": Reason("a statement took longer than TWEETMILL_STATEMENT_TIMEOUT", for_good=True, answered=True),
    "55P03": Reason("a row or table stayed locked", answered=True),
    "3F000": Reason("the schema that search_path names is not there: create it first", for_good=True, answered=True),
    "42P01": Reason("its tables are not there: run `tweetmill migrate`", for_good=True, answered=True),
    "42501": Reason(
        "this login may not do that: `tweetmill migrate`, run with the DATABASE_URL of the tables' owner, renews the rights",
        for_good=True,
        answered=True,
    ),
}

_OF_REDIS = _kinds(
    (r"no password is set|without any password configured", Reason("it knows no password, and one is given", for_good=True, login=True)),
    (r"Authentication required|NOAUTH|HELLO must be called",
     Reason("it asks for a password, and there is none", for_good=True, login=True)),
    (r"invalid username-password|WRONGPASS|invalid password", Reason("it refuses the user or password", for_good=True, login=True)),
    (r"DB index is out of range|invalid DB index", Reason("it has no database of that number (DB index out of range)", for_good=True)),
    (r"SELECT is not allowed in cluster|MOVED|CROSSSLOT|CLUSTERDOWN",
     Reason("it is a Redis Cluster, whose keys lie on several servers", for_good=True)),
    (r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNEXPECTED_MESSAGE|SSL.*EOF occurred",
     Reason("it speaks no TLS there: write redis://, or the port of TLS", for_good=True)),
    (r"Protocol Error|InvalidResponse",
     Reason("what answers there is no Redis, or one that speaks TLS: then write rediss://", for_good=True)),
    (r"loading the dataset", Reason("it is still loading its data")),
    (r"read only replica|READONLY", Reason("it is a replica, which takes no writes: name the primary", for_good=True)),
    (r"MISCONF|Errors writing to the AOF", Reason("it can't write its data to disk")),
    (r"used memory|\bOOM\b", Reason("its memory is full (maxmemory)")),
    (r"max number of clients", Reason("all its connections are taken")),
    (r"Name or service not known|name resolution|nodename nor servname|No address associated|gaierror|encoding with 'idna'", _LOST_NAME),
    (r"Connection refused|error 111", _NOBODY),
    (r"No such file or directory|error 2 connecting", _NO_SOCKET),
    (r"Permission denied|error 13 connecting", _CLOSED_SOCKET),
    (r"No route to host|Network is unreachable", _UNREACHABLE),
    (r"timeout connecting|handshake operation timed out",
     Reason("no answer in time: where the address begins with rediss://, it may speak no TLS there")),
    (r"timeout|timed out", _SLOW),
    (r"Connection closed by server|Connection reset|Connection lost|closed the connection|Broken pipe",
     Reason("it closed the connection: where it speaks TLS, write rediss://")),
)  # fmt: skip


def of_postgres(error: BaseException) -> Reason:
    """Return why psycopg or SQLAlchemy failed."""
    original: Any = getattr(error, "orig", None) or error
    known = _BY_STATE.get(getattr(original, "sqlstate", None) or "")
    return known or _of_kind(original, _OF_POSTGRES)


def of_redis(error: BaseException) -> Reason:
    """Return why redis-py or kombu failed."""
    return _of_kind(error, _OF_REDIS)


def _of_kind(error: BaseException, kinds: Kinds) -> Reason:
    message = f"{type(error).__name__}: {error}"
    for pattern, reason in kinds:
        if pattern.search(message):
            return reason
    return Reason(first_line(error), for_good="certificate" in message.lower(), is_known=False)
