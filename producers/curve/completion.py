"""Waits until a curve has all its scores: those of its models, and those of their untuned base by prompts."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING
from uuid import UUID

from producers.curve.baselines import sharing_baselines
from producers.curve.prompting import score_prompts
from producers.curve.run import CurveProgress, follow, status
from producers.render.progress import follow_curve

if TYPE_CHECKING:
    from workers.catalog.curves import PointStatus


def complete(name: str, jobs: Collection[UUID] | None, limit: int | None, *, prompting: bool) -> tuple[list[PointStatus], CurveProgress]:
    """Wait for points, ask for the scores that they lack, and return how all points of the curve stand then.

    Args:
        name: of the curve.
        jobs: the trainings of the points to wait for; None: all.
        limit: of the rows that are scored.
        prompting: whether the base is scored too, where it was not.
    """
    with follow_curve(name) as seen:
        follow(name, jobs, limit, seen)
    if prompting:
        score_prompts(sharing_baselines(status(name, limit)[0], jobs), limit)
    return status(name, limit)
