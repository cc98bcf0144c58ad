"""Datasets: which there are, how many examples of what each holds, and some of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import desc, func, text
from sqlmodel import Session, col, select

from schemas.payloads import Stage
from schemas.tables.datasets import Dataset, Example
from workers.errors import NotFound

_LISTED = """
SELECT dataset.name, dataset.created_at, dataset.fingerprint, dataset.recipe->>'stage' AS stage, count(example.key) AS examples,
       count(example.key) FILTER (WHERE example.split = 'train') AS train,
       count(example.key) FILTER (WHERE example.split = 'test') AS test
FROM dataset LEFT JOIN example ON example.dataset = dataset.id
GROUP BY dataset.id ORDER BY dataset.created_at DESC, dataset.id DESC
"""
_FLAGGED = """
SELECT flag, count(*) AS examples, min(in_all) AS in_all FROM (
    SELECT jsonb_array_elements_text(lineage->'flagged') AS flag, count(*) OVER () AS in_all FROM example
    WHERE dataset = :id AND jsonb_exists(lineage, 'flagged')) AS flagged
GROUP BY flag ORDER BY examples DESC, flag
"""
# A few of each kind, the same ones every time.
_EXAMPLES = """
SELECT key, stage, origin, split, prompt_text AS prompt, target_text AS target
FROM (SELECT *, row_number() OVER (PARTITION BY split, origin ORDER BY key) AS place FROM example
      WHERE dataset = :dataset AND (cast(:stage AS text) IS NULL OR stage = :stage)) AS numbered
WHERE place <= :shown ORDER BY split DESC, origin, place
"""


def find(session: Session, name: str) -> Dataset | None:
    """Return the dataset of this name, if there is one."""
    return session.exec(select(Dataset).where(Dataset.name == name)).one_or_none()


def resolve(session: Session, name: str) -> Dataset:
    """Return the dataset of this name.

    Raises:
        NotFound: there is none.
    """
    found = find(session, name)
    if found is None:
        raise NotFound(f"dataset {name}: there is none. `tweetmill datasets` lists them")
    return found


def listed(session: Session) -> list[dict[str, Any]]:
    """Return all datasets, the newest first, with their numbers of examples."""
    return [dict(row._mapping) for row in session.connection().execute(text(_LISTED))]


def counts(session: Session, dataset: int) -> list[dict[str, Any]]:
    """Count the examples of each split and origin."""
    query = (
        select(Example.split, Example.origin, func.count())
        .where(Example.dataset == dataset)
        .group_by(col(Example.split), col(Example.origin))
        .order_by(desc(col(Example.split)), col(Example.origin))
    )
    return [{"split": split, "origin": origin, "examples": number} for split, origin, number in session.exec(query)]


def flagged(session: Session, dataset: int) -> tuple[int, dict[str, int]]:
    """Count the examples that were kept because a person wrote them though filters found something: all, and by what was found."""
    rows = session.connection().execute(text(_FLAGGED), {"id": dataset}).all()
    return (rows[0].in_all if rows else 0), {row.flag: row.examples for row in rows}


def examples(session: Session, dataset: int, shown: int, stage: Stage | None = None) -> list[dict[str, Any]]:
    """Return at most `shown` examples of each split and origin; `stage`: only those that teach it."""
    values = {"dataset": dataset, "shown": shown, "stage": stage}
    return [dict(row._mapping) for row in session.connection().execute(text(_EXAMPLES), values)]
