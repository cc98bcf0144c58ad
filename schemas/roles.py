"""Grant rights in Postgres to three group roles, to which an operator's logins belong.

    CREATE ROLE mill1 LOGIN PASSWORD '…' IN ROLE tweetmill_worker

The owner of the tables makes, changes and deletes. Nobody else may empty a table or change its shape. A producer may delete what a
deletion of a stream or `tweetmill forget` takes back and the summaries of a text that changed, and no other row; a worker none. What a
worker or a producer may update is named column by column: a job's payload and key never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

PRODUCER = "tweetmill_producer"
WORKER = "tweetmill_worker"
READER = "tweetmill_reader"
ROLES = (PRODUCER, WORKER, READER)

_GRANT_LOCK = 7_203_117


@dataclass(frozen=True)
class Rights:
    """What a role may do with one table, beside reading it.

    Attributes:
        insert: whether it may add rows; columns: rows of which it sets these alone.
        update: the columns that it may change.
        delete: whether it may delete rows.
    """

    insert: bool | tuple[str, ...] = False
    update: tuple[str, ...] = ()
    delete: bool = False


# The columns by which a job moves. Neither what it is (kind, queue, payload, key, parent) nor how often it may fail.
_MOVES = ("state", "remaining", "failures", "run_after", "published_at", "finished_at", "progress", "error", "orders")
# What a teacher says when a tweet that it refused is asked about again.
_ANSWER = ("answers", "error", "tokens_in", "tokens_out", "seconds", "job", "answered_at")
# How a promotion ends. Which model it was and for which stream stays as it was.
_ENDS = ("state", "reason", "ended_at")
# All but its name: only one process at a time reads a stream.
_OF_A_STREAM = (
    "address", "model", "options", "cursor", "state", "job", "owner", "lease_until", "arrived", "sharded", "shards", "counters", "error",
    "started_at", "seen_at", "stopped_at", "last_arrival_at",
)  # fmt: skip

RIGHTS: Mapping[str, Mapping[str, Rights]] = {
    PRODUCER: {
        "job": Rights(insert=True, update=_MOVES),
        "job_event": Rights(insert=True),
        "worker": Rights(update=("orders",)),
        # What belongs to a tweet goes with it, by the rights of the tables' owner. To lock a row takes the right to change something of it.
        # A later version of a tweet takes the place of its text, and its summaries are those of the earlier one.
        "tweet": Rights(insert=True, update=("received_at", "text", "text_hash"), delete=True),
        "summary": Rights(delete=True),
        "source_cursor": Rights(insert=True, update=("fingerprint", "position", "updated_at")),
        "rejected_row": Rights(insert=True),
        "curated": Rights(insert=True, delete=True),
        "example": Rights(delete=True),
        "dropped": Rights(delete=True),
        # What was forgotten until an account is back may be forgotten for good.
        "forgotten": Rights(insert=True, update=("account",), delete=True),
        "taken_back": Rights(insert=True, update=("examples", "taken_at")),
        "selection": Rights(insert=True),
        "stream": Rights(insert=True, update=_OF_A_STREAM),
        # A later version of a text that is out for a second time has a place of its own.
        "arrival": Rights(insert=True, update=("ordinal", "tokens", "arrived_at")),
        "stream_shard": Rights(insert=True),
        # A chain of two models is a model. Only a worker says where files lie.
        "model": Rights(insert=("name", "base", "method", "stage", "dataset", "details")),
        # A preview keeps what it asked a teacher.
        "teaching": Rights(insert=True, update=_ANSWER),
        "review": Rights(
            insert=True,
            update=("value", "reasons", "reviewer", "claimed_until", "verdict", "target_text", "rule", "seconds", "reviewed_at"),
            delete=True,
        ),
        "promotion": Rights(insert=True, update=_ENDS),
    },
    WORKER: {
        "job": Rights(update=(*_MOVES, "attempt", "preemptions", "owner", "lease_until", "started_at", "result")),
        "job_event": Rights(insert=True),
        "worker": Rights(insert=True, update=("queues", "pid", "orders", "left_at", "started_at", "seen_at")),
        "checkpoint": Rights(
            insert=True, update=("attempt", "folder", "manifest_sha256", "world_size", "zero_stage", "bytes", "created_at", "removed_at")
        ),
        "rejected_row": Rights(insert=True),
        "dataset": Rights(insert=True, update=("name", "recipe", "created_at")),
        "example": Rights(insert=True),
        "dropped": Rights(insert=True),
        # Of a dataset that was under way while a tweet of it was forgotten.
        "taken_back": Rights(insert=True, update=("examples", "taken_at")),
        "teaching": Rights(insert=True, update=_ANSWER),
        "model": Rights(insert=True),
        "metric": Rights(insert=True, update=("value",)),
        "summary": Rights(insert=True),
        "evaluation": Rights(insert=True),
        # Whoever ends a shard of a canary may find that it is worse, or that it is to be promoted.
        "promotion": Rights(insert=True, update=(*_ENDS, "figures")),
        "canary_shard": Rights(insert=True),
    },
    READER: {},
}


def missing(connection: Connection) -> list[str]:
    """Return which of the roles the server does not have."""
    there = set(connection.execute(text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:roles)"), {"roles": list(ROLES)}).scalars())
    return [role for role in ROLES if role not in there]


def may_create(connection: Connection) -> bool:
    """Return whether this login may create roles."""
    return bool(connection.execute(text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")).scalar_one())


def owns_tables(connection: Connection) -> bool:
    """Return whether this login owns the tables: Postgres lets anybody else give rights without an error and without an effect."""
    return bool(
        connection.execute(
            text("SELECT coalesce(bool_and(pg_has_role(tableowner, 'USAGE')), true) FROM pg_tables WHERE schemaname = current_schema()")
        ).scalar_one()
    )


def apply(connection: Connection) -> None:
    """Create the roles that are missing and give each exactly its rights, in this transaction; doing it again changes nothing."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _GRANT_LOCK})
    for role in missing(connection):
        connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
    for statement in statements(_schema(connection)):
        connection.execute(text(statement))


def _schema(connection: Connection) -> str:
    """Return the schema of the tables, quoted: the first of the search path."""
    return str(connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one())


def statements(schema: str = "public") -> Iterator[str]:
    """Yield the statements that give each role its rights in the tables' schema, and revoke all others."""
    everyone = ", ".join(ROLES)
    yield f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {everyone}"
    yield f"GRANT USAGE ON SCHEMA {schema} TO {everyone}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {everyone}"
    for role, tables in RIGHTS.items():
        for table, rights in tables.items():
            if rights.insert:
                columns = f" ({', '.join(rights.insert)})" if isinstance(rights.insert, tuple) else ""
                yield f"GRANT INSERT{columns} ON {table} TO {role}"
            if rights.update:
                yield f"GRANT UPDATE ({', '.join(rights.update)}) ON {table} TO {role}"
            if rights.delete:
                yield f"GRANT DELETE ON {table} TO {role}"
