"""Ingested tweets: how many there are, and of which sources."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func
from sqlmodel import Session, col, select

from schemas.tables.tweets import Tweet

_SHOWN = 20


def count(session: Session, source: str | None = None) -> int:
    """Count the tweets, of all sources or of one."""
    query = select(func.count()).select_from(Tweet)
    return session.exec(query if source is None else query.where(Tweet.source == source)).one()


def is_source(session: Session, name: str) -> bool:
    """Whether any tweet is of this source."""
    return session.exec(select(Tweet.id).where(Tweet.source == name).limit(1)).first() is not None


def sources(session: Session) -> Sequence[str]:
    """Return the first sources by name."""
    return session.exec(select(Tweet.source).distinct().order_by(col(Tweet.source)).limit(_SHOWN)).all()
