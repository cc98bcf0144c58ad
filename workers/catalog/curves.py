"""Reads how the points of a learning curve stand: the trainings that bear its name, and what their models were found to be worth.

A curve's models are scored on the same rows: what its dataset holds back, or the first `limit` of that. Comparisons on other rows are no
scores of the curve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func
from sqlmodel import Session, col, select

from schemas.payloads import Baseline, ComparisonSpec
from schemas.states import JobState
from schemas.tables.jobs import Job
from schemas.tables.models import Model

TRAIN, COMPARE = "training.train", "evaluation.compare"

BASELINES: tuple[Baseline, ...] = ("lead", "rules")
"""What every point is scored beside."""


@dataclass(frozen=True)
class PointStatus:
    """A point of a curve.

    Attributes:
        recipe: of its training, plain JSON.
        training: the job, and how it stands.
        seconds: that the training took, where it is done.
        steps: that it made, where it is done.
        model: its id, where it is made.
        evaluation: how the comparison of this model alone stands; None: none was asked for.
        systems: what comparisons of it found, by system and metric; its cost beside it.
        pairs: paired differences of these systems, as a comparison returns them.
        name: of its model.
        fingerprint: of the examples that the model learnt from, where it is made: a dataset that was rebuilt has another one.
        prompt_version: of the prompts that it learnt, where that is known.
    """

    recipe: Mapping[str, Any]
    training: UUID
    state: JobState
    seconds: float | None
    steps: int | None
    model: int | None
    evaluation: JobState | None
    systems: Mapping[str, Any]
    pairs: Sequence[Mapping[str, Any]] = ()
    name: str | None = None
    fingerprint: str | None = None
    prompt_version: str | None = None

    @property
    def untuned(self) -> tuple[str | None, ...]:
        """What the scores of systems without training depend on: the base, the stage, the rows that its dataset holds back, the prompts."""
        return self.recipe["base"], self.recipe["stage"], self.recipe["dataset"], self.fingerprint, self.prompt_version

    @property
    def figures(self) -> Mapping[str, Any] | None:
        """What its model scored, by metric; None while that is not known."""
        found: Mapping[str, Any] | None = self.systems.get(self.name or "")
        return found


def comparison(model: int, limit: int | None, baselines: Sequence[Baseline] = BASELINES) -> ComparisonSpec:
    """Return the comparison that scores a point, or the systems `baselines` beside one, on the first `limit` rows."""
    return ComparisonSpec(model_ids=(model,), baselines=tuple(baselines), limit=limit)


def points(session: Session, curve: str, limit: int | None) -> list[PointStatus]:
    """Return the points of a curve in the order in which they were asked for; none for a name that no training bears.

    Args:
        session: to the database.
        curve: its name.
        limit: of the rows that scores are read of, as it was asked for.
    """
    query = (
        select(Job, Model)
        .join(Model, col(Model.job) == col(Job.id), isouter=True)
        .where(*_of(curve))
        .order_by(col(Job.created_at), col(Job.id))
    )
    trained = session.exec(query).all()
    by_model: dict[int, list[Job]] = {}
    for job in _comparisons(session, [model.id for _, model in trained if model is not None]):
        if job.payload["limit"] == limit:
            by_model.setdefault(job.payload["model_ids"][0], []).append(job)
    return [_status(job, model, by_model.get(model.id, []) if model is not None else []) for job, model in trained]


def scored_limit(session: Session, curve: str) -> int | None:
    """Return the limit of the rows that most of the curve's models were asked to be scored on; None: all rows, or nobody asked.

    Somebody may compare one of the models on other rows: that changes nothing. Of limits with as many models the one that was asked for
    last counts.
    """
    models = session.exec(select(Model.id).join(Job, col(Model.job) == col(Job.id)).where(*_of(curve))).all()
    asked: dict[int | None, set[int]] = {}
    for job in _comparisons(session, list(models)):
        if _is_score(job):
            limit = job.payload["limit"]
            asked[limit] = asked.pop(limit, set()) | {job.payload["model_ids"][0]}  # taken out first, so that the newest stands last
    return max(reversed(asked), key=lambda limit: len(asked[limit]), default=None)


def _of(curve: str) -> tuple[ColumnElement[bool], ...]:
    return col(Job.kind) == TRAIN, col(Job.payload)["curve"].astext == curve


def named(session: Session) -> list[str]:
    """Return the names of all curves."""
    name = col(Job.payload)["curve"].astext
    return sorted(session.exec(select(name).where(Job.kind == TRAIN, name.is_not(None)).distinct()))


def by_age(session: Session) -> list[str]:
    """Return the names of all curves, the one that was added to last first."""
    name = col(Job.payload)["curve"].astext
    query = select(name).where(Job.kind == TRAIN, name.is_not(None)).group_by(name)
    return list(session.exec(query.order_by(func.max(Job.created_at).desc(), name)))


def _comparisons(session: Session, models: list[int]) -> Sequence[Job]:
    """Return the comparisons of each of these models alone on rows that are held back, the oldest first."""
    if not models:
        return ()
    compared = col(Job.payload)["model_ids"]
    return session.exec(
        select(Job)
        .where(
            Job.kind == COMPARE,
            func.jsonb_array_length(compared) == 1,
            compared[0].as_integer().in_(models),
            col(Job.payload)["references"].astext.is_(None),
            col(Job.payload)["guard"].as_boolean(),
        )
        .order_by(col(Job.created_at), col(Job.id))
    ).all()


def _is_score(comparison: Job) -> bool:
    """Whether it is beside what every point is scored beside."""
    return set(BASELINES) <= set(comparison.payload["baselines"])


def _status(job: Job, model: Model | None, comparisons: Iterable[Job]) -> PointStatus:
    result = job.result or {}
    systems: dict[str, Any] = {}
    pairs: list[Mapping[str, Any]] = []
    evaluation: JobState | None = None
    for each in comparisons:
        found = each.result or {}
        systems |= found.get("systems", {})
        pairs += found.get("pairs", [])
        if _is_score(each) and evaluation is not JobState.DONE:
            evaluation = each.state
    return PointStatus(
        recipe=job.payload,
        training=job.id,
        state=job.state,
        seconds=result.get("seconds"),
        steps=result.get("steps"),
        model=model.id if model is not None else None,
        evaluation=evaluation,
        systems=systems,
        pairs=pairs,
        name=model.name if model is not None else None,
        fingerprint=model.dataset_fingerprint if model is not None else None,
        prompt_version=model.details.get("prompt_version") if model is not None else None,
    )
