"""Bring the tables and the rights of the roles up to date, in whatever Postgres the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from workers.errors import NotReady, Unavailable
from workers.settings import Settings


def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the tables up to date; return the revisions before and after.

    Raises:
        Unavailable: Postgres does not answer.
        NotReady: this login may not change the tables.
    """
    from schemas.migrations import migrate as bring_to_head

    with owner(settings) as engine:
        return bring_to_head(engine)


def grant(settings: Settings) -> str | None:
    """Create the roles of `schemas/roles.py` and give them their rights; return what is missing for it, in a line.

    The owner, who alone may delete, also has workers forgotten that left long ago.

    Raises:
        Unavailable: Postgres does not answer.
    """
    from schemas import roles
    from workers.jobs import worker_registry

    with owner(settings) as engine, engine.begin() as connection:
        if not roles.owns_tables(connection):
            return "No rights were given: this login does not own the tables. Run `tweetmill migrate` with the DATABASE_URL of their owner."
        worker_registry.forget(connection)
        missing = roles.missing(connection)
        if missing and not roles.may_create(connection):
            create = "; ".join(f"CREATE ROLE {role} NOLOGIN" for role in missing)
            return f"No rights were given: this login may not create roles. Have somebody run `{create}`, then `tweetmill migrate` again."
        roles.apply(connection)
    return None


@contextmanager
def owner(settings: Settings) -> Iterator[Engine]:
    """Yield an engine for statements that change tables or roles, whose refusals are sentences."""
    from sqlalchemy.exc import DBAPIError, OperationalError

    from workers.connections.server_errors import of_postgres
    from workers.database import connect

    engine = connect(settings.database(), statement_timeout=600, pool_size=1)
    try:
        yield engine
    except DBAPIError as error:
        reason = of_postgres(error)
        if getattr(error.orig, "sqlstate", None) == _NOT_PERMITTED:
            raise NotReady("Postgres: permission denied. `tweetmill migrate` needs a DATABASE_URL of the tables' owner") from None
        if reason.for_good:
            raise NotReady(reason.sentence_of("Postgres")) from None
        if not isinstance(error, OperationalError):
            raise
        raise Unavailable(reason.sentence_of("Postgres")) from None
    finally:
        engine.dispose()


_NOT_PERMITTED = "42501"
