"""Asks whether a prompt is enough: the base of a curve's models, untuned, on the rows that they are scored on, once a base and dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from producers.curve.run import taken_up
from producers.render.output import say
from producers.render.progress import watch
from schemas.payloads import PromptSystem, Stage
from schemas.states import JobState

if TYPE_CHECKING:
    from workers.catalog.curves import PointStatus

_WITH_SETS = 16
"""Pairs from which there are two sets of four examples, and eight pairs to choose one by."""


def systems(pairs: int) -> tuple[PromptSystem, ...]:
    """Return the prompts that so many pairs to show are enough for. Those with examples also answer under the guard, as models do."""
    names: list[PromptSystem] = ["zero_shot"]
    if pairs:
        names += ["few_shot", "few_shot_guarded"]
    if pairs >= _WITH_SETS:
        names += ["few_shot_best", "few_shot_best_guarded"]
    return tuple(names)


def score_prompts(points: Sequence[PointStatus], limit: int | None) -> None:
    """Have the base of a curve's models answer by prompts, and wait for its scores; a failure is said and ends nothing."""
    for job in ask(points, limit):
        if watch(job).state is not JobState.DONE:
            say(f"The untuned base has no score: `tweetmill job {str(job)[:8]}` says why", "yellow")


def ask(points: Sequence[PointStatus], limit: int | None) -> list[UUID]:
    """Ask for comparisons of the base by prompts with a model of the largest size; return the jobs.

    One for each base and dataset of the points, as a rule one alone; none where no model has a score yet, or the base has its own: that
    is the same for all points, and sizes that are added later change nothing of it.
    """
    alike: dict[tuple[str | None, ...], list[PointStatus]] = {}
    for point in points:
        if point.figures is not None:
            alike.setdefault(point.untuned, []).append(point)
    return [_ask(scored, limit) for scored in alike.values() if not _has_answered(scored)]


def _has_answered(scored: Sequence[PointStatus]) -> bool:
    return any(name in point.systems for point in scored for name in systems(_WITH_SETS))


def _ask(scored: Sequence[PointStatus], limit: int | None) -> UUID:
    from tasks import evaluation
    from workers.catalog import curves

    largest = max(scored, key=lambda point: int(point.recipe["pairs"]))
    assert largest.model is not None
    named = systems(_pairs(largest.recipe))
    return taken_up(evaluation.enqueue_comparison(curves.comparison(largest.model, limit, named)))


def _pairs(recipe: Any) -> int:
    from workers import database
    from workers.catalog import datasets
    from workers.catalog.examples import training_examples

    with database.session() as session:
        found = datasets.find(session, recipe["dataset"])
        return training_examples.pairs(session, found.id, Stage(recipe["stage"])) if found is not None else 0
