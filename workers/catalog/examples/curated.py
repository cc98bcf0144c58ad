"""Rows of the files that people wrote: pairs, references and sentences."""

from __future__ import annotations

from sqlalchemy import func
from sqlmodel import Session, col, select

from schemas.tables.datasets import Curated


def count(session: Session) -> int:
    """Count the rows of all files."""
    return session.exec(select(func.count()).select_from(Curated)).one()


def has_pairs(session: Session) -> bool:
    """Whether there is any row with a clean text and a summary."""
    query = select(Curated.key).where(col(Curated.clean).is_not(None), col(Curated.summary).is_not(None))
    return session.exec(query.limit(1)).first() is not None
