"""Returns the texts of rows that an evaluation scored, whose result names them by their keys alone."""

from __future__ import annotations

from collections.abc import Collection

from sqlmodel import Session, col, select

from schemas.tables.datasets import Curated, Example


def texts(session: Session, keys: Collection[str], collection: str | None) -> dict[str, tuple[str, str]]:
    """Return of each key that is there the tweet and its references, ` | ` between them.

    Args:
        session: to read with.
        keys: of rows of the collection, else of examples.
        collection: of references; None for examples of a dataset.
    """
    if collection is not None:
        wanted = select(Curated).where(Curated.collection == collection, col(Curated.key).in_(keys))
        return {row.key: (row.text or "", " | ".join((row.summary or "", *row.other_summaries))) for row in session.exec(wanted)}
    # The same key is the same text in any dataset: it is made of it.
    found = select(Example).where(col(Example.key).in_(keys))
    return {row.key: (row.prompt_text, row.target_text) for row in session.exec(found)}
