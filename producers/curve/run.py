"""Runs a learning curve over the queue: asks for the trainings of its points, and for the score of each model as soon as it is made."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from producers.curve.points import CurvePoint
from producers.render.progress import JobProgress
from producers.render.quantities import duration
from schemas.states import FINAL_STATES, RETRIABLE, JobState

if TYPE_CHECKING:
    from tasks.enqueue import Submitted
    from workers.catalog.curves import PointStatus

_LOOK_EVERY = 1.0


@dataclass(frozen=True)
class CurveProgress:
    """How far the points of a curve are.

    Attributes:
        points: all of them.
        trained: those that have a model.
        done: those that have a score.
        failed: those that will have none.
        running: those that a worker trains or scores.
        not_asked: those that have a model, and no score was asked for.
        pace: seconds of a step while this was watched, which is a model or a score; None before the first.
    """

    points: int
    trained: int
    done: int
    failed: int
    running: int
    not_asked: int
    pace: float | None = None

    @property
    def steps(self) -> int:
        """The models and the scores that are made: two steps a point."""
        return self.trained + self.done

    @property
    def shown(self) -> JobProgress:
        """Return it as a bar and a line, the telling part first."""
        parts = [f"{self.trained} trained"]
        if self.running:
            parts.append(f"{self.running} at work")
        if self.failed:
            parts.append(f"{self.failed} failed")
        left = 2 * (self.points - self.failed) - self.steps
        if left > 0 and self.pace is not None:
            parts.append(f"{duration(self.pace * left)} left")
        return JobProgress(self.done, self.points, "points", " · ".join(parts))


def enqueue(points: Sequence[CurvePoint], fingerprint: str) -> set[UUID]:
    """Ask for the trainings, and once more for those that failed; return the jobs. A point that was trained before is not trained again."""
    from tasks import training

    return {taken_up(training.enqueue(point.spec, dataset_fingerprint=fingerprint)) for point in points}


def follow(name: str, jobs: Collection[UUID] | None, limit: int | None, show: Callable[[JobProgress], None]) -> list[PointStatus]:
    """Watch the points until each has a score or has failed, asking for scores as models are made; return how they stand.

    Interrupting it stops nothing that was asked for: the same call goes on. No score is asked for without it, since workers have no right
    to enqueue.

    Args:
        name: of the curve.
        jobs: the trainings of its points to watch; None: all.
        limit: of the rows that are scored.
        show: called with the progress.
    """
    began = time.monotonic()
    asked: set[int] = set()
    before: int | None = None
    while True:
        found = [point for point in _points(name, limit) if jobs is None or point.training in jobs]
        new_models = {point.model for point in found if point.model is not None and point.evaluation is not JobState.DONE} - asked
        for model in sorted(new_models):
            _evaluate(model, limit)
        asked |= new_models
        progress = _progress(found)
        before = progress.steps if before is None else before
        new = progress.steps - before
        show(replace(progress, pace=(time.monotonic() - began) / new if new else None).shown)
        # What was asked for just now may have failed before: how it stands is seen at the next look.
        if not new_models and progress.done + progress.failed == len(found):
            return found
        time.sleep(_LOOK_EVERY)


def _evaluate(model: int, limit: int | None) -> None:
    from tasks import evaluation
    from workers.catalog import curves

    taken_up(evaluation.enqueue_comparison(curves.comparison(model, limit)))


def taken_up(submitted: Submitted) -> UUID:
    """Return the job, queued again where an equal one had failed or was cancelled."""
    from workers import database
    from workers.jobs import fanout

    if not submitted.new:
        with database.transaction() as connection:
            fanout.retry(connection, RETRIABLE, submitted.job)
    return submitted.job


def _points(name: str, limit: int | None) -> list[PointStatus]:
    from workers import database
    from workers.catalog import curves

    with database.session() as session:
        return curves.points(session, name, limit)


def scored_rows(name: str) -> int | None:
    """Return the limit of the rows that the curve was scored on; None: all that are held back."""
    from workers import database
    from workers.catalog import curves

    with database.session() as session:
        return curves.scored_limit(session, name)


def _progress(found: Sequence[PointStatus]) -> CurveProgress:
    has_failed = [_has_failed(point) for point in found]
    return CurveProgress(
        points=len(found),
        trained=sum(point.model is not None for point in found),
        done=sum(point.figures is not None for point in found),
        failed=sum(has_failed),
        running=sum(JobState.RUNNING in (point.state, point.evaluation) for point in found),
        not_asked=sum(point.model is not None and point.figures is None and point.evaluation is None for point in found),
    )


def _has_failed(point: PointStatus) -> bool:
    """Whether a point will have no score: its training or its evaluation has ended without one."""
    if point.figures is not None:
        return False
    if point.state in FINAL_STATES:
        return point.state is not JobState.DONE or point.model is None or _ended_badly(point.evaluation)
    return False


def _ended_badly(state: JobState | None) -> bool:
    return state is not None and state in FINAL_STATES and state is not JobState.DONE


def status(name: str, limit: int | None) -> tuple[list[PointStatus], CurveProgress]:
    """Return the points of a curve and how far they are, by scores on `limit` rows.

    Raises:
        NotFound: no training bears its name.
    """
    from workers import database
    from workers.catalog import curves
    from workers.errors import NotFound

    found = _points(name, limit)
    if not found:
        with database.session() as session:
            known = curves.named(session)
        there = f"there are {', '.join(known)}" if known else "`tweetmill curve run -r RECIPE` draws one"
        raise NotFound(f"curve {name}: there is none; {there}")
    return found, _progress(found)


def figures(point: PointStatus) -> dict[str, Any]:
    """Return a point as plain JSON: what was learnt from, what it took, and what its model scored."""
    recipe = point.recipe
    return {
        "method": recipe["method"],
        "origins": recipe["origins"],
        "size": recipe["pairs"],
        "seed": recipe["pairs_seed"],
        "job": str(point.training),
        "state": point.state.value,
        "model": point.name,
        "seconds": point.seconds,
        "scores": point.figures,
    }
