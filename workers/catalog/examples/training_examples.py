"""Selects what a training learns from: the examples of its dataset that its recipe asks for. Estimates go by the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Integer, any_, case, func, literal
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from schemas.payloads import Stage
from schemas.tables.datasets import Example
from schemas.training import TrainingSpec

ROWS_AT_ONCE = 2000

_TWEET = func.coalesce(col(Example.tweet), col(Example.prompt_text))
"""What two examples of one tweet share: its id, or where none is known its text."""


@dataclass(frozen=True)
class Amount:
    """How much a training learns from.

    Attributes:
        examples: that differ.
        lines: of one epoch, where what people wrote counts as often as it is repeated.
        characters: of prompts and targets of these lines, instructions excluded.
    """

    examples: int
    lines: int
    characters: int


def rows(session: Session, dataset: int, spec: TrainingSpec, clusters: set[int] | None = None) -> Iterator[Any]:
    """Yield prompt_text, target_text, origin and cluster in the order of the keys, through a cursor of the server.

    Args:
        session: an open one.
        dataset: its id.
        spec: says which examples, and by `learn_from` what is read as their prompt.
        clusters: those to keep to; None: all.
    """
    columns = _selected(dataset, spec)
    if clusters is not None:
        columns = columns.where(col(Example.cluster) == any_(literal(sorted(clusters), ARRAY(Integer))))
    yield from session.exec(columns.order_by(col(Example.key)).execution_options(yield_per=ROWS_AT_ONCE))


def clusters(session: Session, dataset: int, spec: TrainingSpec) -> Iterator[tuple[int, int]]:
    """Yield each cluster of alike examples with its size, in an order that the recipe's seed draws."""
    chosen = _selected(dataset, spec).subquery()
    drawn = func.md5(literal(f"{spec.seed}/").concat(chosen.c.cluster))
    query = select(chosen.c.cluster, func.count()).group_by(chosen.c.cluster).order_by(drawn, chosen.c.cluster)
    yield from session.exec(query.execution_options(yield_per=ROWS_AT_ONCE))


def amount(session: Session, dataset: int, spec: TrainingSpec) -> Amount:
    """Return how much there is to learn from, held-back rows included."""
    chosen = _selected(dataset, spec).subquery()
    repeats = case((chosen.c.origin == "human", spec.human_repeats), else_=1)
    characters = func.char_length(chosen.c.prompt_text) + func.char_length(chosen.c.target_text)
    lines = func.coalesce(func.sum(repeats), 0)
    letters = func.coalesce(func.sum(repeats * characters), 0)
    there = session.exec(select(func.count(), lines, letters).select_from(chosen)).one()
    return Amount(there[0], int(there[1]), int(there[2]))


def without_clean(session: Session, dataset: int, spec: TrainingSpec) -> int:
    """Count the examples that are left out because no clean text of their tweet is known: see `learn_from`."""
    if spec.learn_from == "tweet":
        return 0
    cleaned = _cleaned(dataset)
    alone = select(func.count()).select_from(Example).where(*_conditions(dataset, spec), _TWEET.not_in(select(cleaned.c.tweet)))
    return session.exec(alone).one()


def pairs(session: Session, dataset: int, stage: Stage) -> int:
    """Count the tweets of a stage whose pair a person wrote."""
    return session.exec(select(func.count()).select_from(_curated(dataset, stage).subquery())).one()


def _conditions(dataset: int, spec: TrainingSpec) -> tuple[Any, ...]:
    """Return what an example has to fulfil, whether or not a clean text of its tweet is known."""
    chosen: list[Any] = [Example.dataset == dataset, Example.split == "train", Example.stage == Stage(spec.stage).value]
    if spec.origins:
        chosen.append(col(Example.origin).in_(spec.origins))
    if spec.pairs is not None:
        chosen.append(_TWEET.in_(_drawn_pairs(dataset, spec)))
    return tuple(chosen)


def _selected(dataset: int, spec: TrainingSpec) -> Any:
    cleaned = _cleaned(dataset) if spec.learn_from == "clean" else None
    prompt = col(Example.prompt_text) if cleaned is None else cleaned.c.clean_text.label("prompt_text")
    columns = select(prompt, Example.target_text, Example.origin, Example.cluster).where(*_conditions(dataset, spec))
    return columns if cleaned is None else columns.join(cleaned, cleaned.c.tweet == _TWEET)


def _cleaned(dataset: int) -> Any:
    """Select one clean text for each tweet of the training split, a person's before others."""
    return (
        select(_TWEET.label("tweet"), col(Example.target_text).label("clean_text"))
        .where(Example.dataset == dataset, Example.split == "train", Example.stage == Stage.CLEAN.value)
        .ext(distinct_on(_TWEET))
        .order_by(_TWEET, col(Example.origin) != "human", col(Example.key))
        .subquery()
    )


def _curated(dataset: int, stage: Stage) -> Any:
    """Select the tweets of the pairs that people wrote, once each."""
    pair = aliased(Example)
    tweet = func.coalesce(pair.tweet, pair.prompt_text)
    curated = (pair.dataset == dataset, pair.split == "train", pair.stage == Stage(stage).value, pair.origin == "human")
    return select(tweet.label("tweet")).where(*curated).group_by(tweet)


def _drawn_pairs(dataset: int, spec: TrainingSpec) -> Any:
    """Select the tweets of `pairs` curated pairs: the first ones in an order that `pairs_seed` draws, so that subsets are nested."""
    curated = _curated(dataset, Stage(spec.stage)).subquery()
    drawn = func.md5(literal(f"{spec.pairs_seed}/").concat(curated.c.tweet))
    return select(curated.c.tweet).order_by(drawn, curated.c.tweet).limit(spec.pairs)
