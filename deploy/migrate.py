"""Bringing the tables up to date, in whatever Postgres the settings name."""

from __future__ import annotations

from workers.errors import Unavailable
from workers.settings import Settings


def migrate(settings: Settings) -> tuple[str | None, str]:
    """Bring the tables up to date; return the revisions before and after.

    Raises:
        Unavailable: Postgres does not answer.
    """
    from sqlalchemy.exc import OperationalError

    from schemas.migrations import migrate as bring_to_head
    from workers.store import connect

    engine = connect(settings.database(), statement_timeout=600, pool_size=1)
    try:
        return bring_to_head(engine)
    except OperationalError as error:
        raise Unavailable(f"Postgres: {str(error.orig).strip().splitlines()[0]}. Is DATABASE_URL right, and the server up?") from None
    finally:
        engine.dispose()
