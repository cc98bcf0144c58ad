"""Reads how the points of a learning curve stand: the trainings that bear its name, and what their models were found to be worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlmodel import Session, col, select

from schemas.states import JobState
from schemas.tables.jobs import Job
from schemas.tables.models import Model

TRAIN, COMPARE = "training.train", "evaluation.compare"


@dataclass(frozen=True)
class PointStatus:
    """A point of a curve.

    Attributes:
        recipe: of its training, plain JSON.
        training: the job, and how it stands.
        seconds: that the training took, where it is done.
        model: its id, where it is made.
        evaluation: how the newest comparison of this model alone stands; None: none was asked for.
        systems: what that found, by system and metric; its cost beside it.
    """

    recipe: Mapping[str, Any]
    training: UUID
    state: JobState
    seconds: float | None
    model: int | None
    evaluation: JobState | None
    systems: Mapping[str, Any]
    name: str | None = None

    @property
    def figures(self) -> Mapping[str, Any] | None:
        """What its model scored, by metric; None while that is not known."""
        found: Mapping[str, Any] | None = self.systems.get(self.name or "")
        return found


def points(session: Session, curve: str) -> list[PointStatus]:
    """Return the points of a curve in the order in which they were asked for; none for a name that no training bears."""
    query = (
        select(Job, Model.id, Model.name)
        .join(Model, col(Model.job) == col(Job.id), isouter=True)
        .where(Job.kind == TRAIN, col(Job.payload)["curve"].astext == curve)
        .order_by(col(Job.created_at), col(Job.id))
    )
    trained = session.exec(query).all()
    evaluated = _evaluations(session, [model for _, model, _ in trained if model is not None])
    return [_status(job, model, name, evaluated.get(model) if model is not None else None) for job, model, name in trained]


def named(session: Session) -> list[str]:
    """Return the names of all curves."""
    name = col(Job.payload)["curve"].astext
    return sorted(session.exec(select(name).where(Job.kind == TRAIN, name.is_not(None)).distinct()))


def _evaluations(session: Session, models: list[int]) -> dict[int, Job]:
    """Return the newest comparison of each of these models alone."""
    if not models:
        return {}
    compared = col(Job.payload)["model_ids"]
    alone = func.jsonb_array_length(compared) == 1
    query = select(Job).where(Job.kind == COMPARE, alone, compared[0].as_integer().in_(models)).order_by(col(Job.created_at))
    return {job.payload["model_ids"][0]: job for job in session.exec(query)}


def _status(job: Job, model: int | None, name: str | None, evaluation: Job | None) -> PointStatus:
    seconds = (job.result or {}).get("seconds")
    systems = (evaluation.result or {}).get("systems", {}) if evaluation is not None else {}
    return PointStatus(
        recipe=job.payload,
        training=job.id,
        state=job.state,
        seconds=seconds,
        model=model,
        evaluation=evaluation.state if evaluation is not None else None,
        systems=systems,
        name=name,
    )
