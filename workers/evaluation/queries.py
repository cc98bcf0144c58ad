"""Reads what an evaluation scores on and learns from: held-back examples, references, and pairs of the training split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import exists, func, literal
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, desc, select
from sqlmodel.sql.expression import SelectOfScalar

from schemas.tables.datasets import Curated, Dataset, Example
from schemas.tables.tweets import Tweet

WRITTEN_BY_PEOPLE = ("human", "import")
"""The origins of examples that people wrote: made-up noise is no evidence of what they write."""


def current_fingerprint(session: Session, dataset: int | None) -> str | None:
    """Return the fingerprint that a dataset has now; None where it is gone."""
    return session.exec(select(Dataset.fingerprint).where(Dataset.id == dataset)).one_or_none()


def held_back(session: Session, datasets: Sequence[int], stage: str) -> Sequence[Example]:
    """Return the examples of the first dataset's test split whose tweets are in the test split of every other, ordered by key."""
    rows = _examples(datasets[0], stage, "test")
    for dataset in datasets[1:]:
        other = aliased(Example)
        also = exists().where(col(other.dataset) == dataset, col(other.split) == "test", col(other.prompt_text) == col(Example.prompt_text))
        rows = rows.where(also)
    return session.exec(rows.order_by(col(Example.key))).all()


def learnt_from(session: Session, dataset: int | None, stage: str) -> Sequence[Example]:
    """Return the examples of a dataset's training split that people wrote, ordered by key."""
    return session.exec(_examples(dataset, stage, "train").order_by(col(Example.key))).all()


def shots(session: Session, dataset: int | None, stage: str, count: int, seed: int) -> Sequence[Example]:
    """Return `count` examples of the training split for a few-shot prompt: curated ones before imported ones, drawn by the seed."""
    is_curated = col(Example.origin) == "human"
    drawn = _examples(dataset, stage, "train").order_by(desc(is_curated), func.md5(literal(str(seed)).concat(col(Example.key))))
    return session.exec(drawn.limit(count)).all()


def sources_of_references(session: Session, collection: str) -> dict[str, str]:
    """Return of the references' tweets that were ingested, by id, which source they came from."""
    return _sources(session, select(Curated.key).where(Curated.collection == collection))


def sources_of_held_back(session: Session, dataset: int) -> dict[str, str]:
    """Return of the tweets in a dataset's test split, by id, which source they came from."""
    return _sources(session, select(col(Example.tweet)).where(Example.dataset == dataset, Example.split == "test"))


def _sources(session: Session, tweets: SelectOfScalar[Any]) -> dict[str, str]:
    return dict(session.exec(select(Tweet.id, Tweet.source).where(col(Tweet.id).in_(tweets))).all())


def references(session: Session, collection: str) -> Sequence[Curated]:
    """Return the rows of a file of references that hold a tweet, in the order of the file."""
    rows = select(Curated).where(Curated.collection == collection, col(Curated.text).is_not(None))
    return session.exec(rows.order_by(col(Curated.position))).all()


def kinds(session: Session, collection: str) -> set[bool]:
    """Return of the rows of a file of references whether they are normalised words (no summary); both where it holds both kinds."""
    return set(session.exec(select(col(Curated.summary).is_(None)).where(Curated.collection == collection).distinct()).all())


def _examples(dataset: int | None, stage: str, split: str) -> SelectOfScalar[Example]:
    return select(Example).where(
        Example.dataset == dataset, Example.split == split, Example.stage == stage, col(Example.origin).in_(WRITTEN_BY_PEOPLE)
    )
