"""Reads what evaluations and comparisons found, the newest first. Points of learning curves are left out: `curves` reads those."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, desc, not_, select

from schemas.states import JobState
from schemas.tables.jobs import Job
from schemas.tables.models import Model
from workers.catalog import curves

EVALUATE, COMPARE = "evaluation.evaluate", "evaluation.compare"

_OF_A_POINT = {"model_ids", "baselines", "limit", "references", "guard"}
"""What tells a score of a curve's point from another comparison of its model."""


def newest(session: Session, limit: int) -> tuple[Sequence[Job], int]:
    """Return the newest evaluation of each model that is there, at most `limit` of them, and how many models have one."""
    model = col(Job.payload)["model_id"].as_integer()
    done = (
        select(Job.id, Job.created_at)
        .join(Model, col(Model.id) == model)
        .where(Job.kind == EVALUATE, Job.state == JobState.DONE)
        .ext(distinct_on(model))
        .order_by(model, desc(col(Job.created_at)))
        .subquery()
    )
    return _newest_of(session, done, limit)


def compared(session: Session, limit: int) -> tuple[Sequence[Job], int]:
    """Return the newest comparisons but those of one point of a curve alone, at most `limit`, and how many there are."""
    training = aliased(Job)
    of_curve = col(training.payload)["curve"].astext.is_not(None)
    drawn = select(Model.id).join(training, col(training.id) == col(Model.job)).where(of_curve)
    models = col(Job.payload)["model_ids"]
    alone = func.jsonb_array_length(models) == 1
    is_a_point = alone & models[0].as_integer().in_(drawn)
    done = select(Job.id, Job.created_at).where(Job.kind == COMPARE, Job.state == JobState.DONE, not_(is_a_point)).subquery()
    return _newest_of(session, done, limit)


def of_point(session: Session, model: int, limit: int | None) -> Job | None:
    """Return the newest comparison that is done and scored a model as a curve scores its points on the first `limit` rows.

    Comparisons of the same model on other rows, against other references or without the guard are no scores of a curve.
    """
    asked = curves.comparison(model, limit).model_dump(mode="json", include=_OF_A_POINT)
    alone = func.jsonb_array_length(col(Job.payload)["model_ids"]) == 1  # a list contains its parts
    query = select(Job).where(Job.kind == COMPARE, Job.state == JobState.DONE, col(Job.payload).contains(asked), alone)
    return session.exec(query.order_by(desc(col(Job.created_at))).limit(1)).first()


def of_model(session: Session, model: int) -> Job | None:
    """Return the newest evaluation of a model that is done."""
    query = select(Job).where(Job.kind == EVALUATE, Job.state == JobState.DONE, col(Job.payload)["model_id"].as_integer() == model)
    return session.exec(query.order_by(desc(col(Job.created_at))).limit(1)).first()


def _newest_of(session: Session, done: Any, limit: int) -> tuple[Sequence[Job], int]:
    """Results are large: only those that are shown are read."""
    there = session.exec(select(func.count()).select_from(done)).one()
    ids = session.exec(select(done.c.id).order_by(done.c.created_at.desc(), done.c.id).limit(limit)).all()
    found = {job.id: job for job in session.exec(select(Job).where(col(Job.id).in_(ids)))}
    return [found[each] for each in ids], there
