"""Makes the answer of a learning curve: what is fitted to its points, the baselines beside them, and the verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any
from uuid import UUID

from producers.curve.baselines import held_against, sharing_baselines, without_training
from producers.curve.costs import Costs, price
from producers.curve.points import CurvePoint, check_origins, lay_out, steps_of
from producers.curve.run import figures
from producers.curve.shown import Shown, shown
from producers.curve.worth import Worth
from producers.render.quantities import duration
from schemas.training import TrainingSpec
from workers.curves.extrapolation import Extrapolation, Prediction, extrapolate, next_sizes
from workers.curves.points import Curve, Point, grouped, of_shared_rows
from workers.curves.verdict import decide
from workers.errors import UserError

if TYPE_CHECKING:
    from workers.catalog.curves import PointStatus

METRIC = "sari"

_FEWEST_STEPS = 10

ANOTHER = 100
"""Pairs more, of which it is said what they bring, whatever the sizes of the curve."""


def drawn(name: str, points: Sequence[PointStatus], worth: Worth, costs: Costs, jobs: Collection[UUID] | None = None) -> dict[str, Any]:
    """Return a curve that was drawn over the queue as plain JSON: its points, and for each method and origin what is fitted to them.

    Args:
        name: of the curve.
        points: all of them.
        worth: the smallest gain that counts.
        costs: what is known of the price of pairs.
        jobs: the trainings of the points to show; None: those that can be compared with the one that was scored last.
    """
    chosen = shown(points) if jobs is None else Shown([point for point in points if point.training in jobs])
    baselines = without_training(sharing_baselines(points, {point.training for point in chosen.points}), METRIC)
    points = chosen.points
    series: dict[str, list[PointStatus]] = {}
    for point in points:
        if point.figures is not None:
            series.setdefault(series_of(point.recipe), []).append(point)
    scored = next((point for point in points if point.figures is not None), None)
    return {
        "curve": name,
        "metric": METRIC,
        "n": scored.figures[METRIC]["n"] if scored is not None and scored.figures else 0,
        "baselines": baselines,
        "series": {each: _answered(found, baselines, worth, costs) for each, found in series.items()},
        "failed": sum(point.figures is None for point in points),
        "left_out": chosen.left_out,
        "other_recipes": chosen.other_recipes,
        "seconds": sum(point.seconds or 0 for point in points),
        "budget_words": budget_words([point.recipe for point in points]),
        "trained": [figures(point) for point in points],
    }


def _answered(scored: Sequence[PointStatus], baselines: Mapping[str, Any], worth: Worth, costs: Costs) -> dict[str, Any]:
    """Return what is fitted to the points of one method and origin, and how the models of the largest size do against the baselines."""
    points = of_shared_rows([_point(status) for status in scored])
    against = held_against(scored, baselines, grouped(points), METRIC)
    return fitted(points, None, worth, costs.with_training(scored)) | {"against": against}


def _point(status: PointStatus) -> Point:
    """Return a point with the standard error of its score, which its 95% interval tells."""
    figure = (status.figures or {})[METRIC]
    return Point(status.recipe["pairs"], figure["value"], (figure["high"] - figure["low"]) / (2 * 1.96))


def planned(recipe: TrainingSpec, usd_per_hour: float | None, **asked: Any) -> tuple[list[CurvePoint], str, dict[str, Any]]:
    """Return the points of a curve, the fingerprint of its dataset, and as plain JSON what they will take.

    Raises:
        NotFound: there is no such dataset.
        UserError: it has too few pairs, or the recipe can't be that of a curve.
        UsageError: it has no examples of an origin.
    """
    from workers import database
    from workers.catalog import datasets
    from workers.catalog.examples import training_examples
    from workers.estimates.history import last_rate, size_of

    with database.session() as session:
        dataset = datasets.resolve(session, recipe.dataset)
        there = training_examples.pairs(session, dataset.id, recipe.stage)
        if there < max(asked["sizes"]):
            raise UserError(f"dataset {dataset.name} has {there} curated pairs to learn from: {_to_do(there)}")

        def lines(spec: TrainingSpec) -> int:
            return training_examples.amount(session, dataset.id, spec).lines

        points = lay_out(recipe, lines=lines, **asked)
        check_origins(points, dataset.name, lambda spec: training_examples.amount(session, dataset.id, spec).examples)
        rate, size = last_rate(session, recipe), size_of(session, recipe)
        steps = [steps_of(point.spec, lines) for point in points]
    examples = sum(each * recipe.global_batch for each in steps)
    seconds = examples * size.tokens / size.lines / rate if rate and size else None
    plan = {
        "curve": recipe.name,
        "points": len(points),
        "sizes": _by_size(points, steps, recipe.global_batch),
        "examples": examples,
        "seconds": seconds,
        "usd": None if seconds is None else price(seconds, usd_per_hour, recipe.nodes),
        "fewest_steps": min(steps),
    }
    return points, dataset.fingerprint, plan | {"words": _plan_words(plan)}


def _to_do(pairs: int) -> str:
    if pairs:
        return "give --sizes up to that"
    return "rows of an import are none. Make it of lines of tweet_id, clean and summary: `tweetmill synthesize` with pairs=FILE"


def _by_size(points: Sequence[CurvePoint], steps: Sequence[int], batch: int) -> list[dict[str, Any]]:
    found: dict[int, list[int]] = {}
    for point, made in zip(points, steps, strict=True):
        found.setdefault(point.size, []).append(made)
    return [
        {"size": size, "points": len(made), "steps": _range(made), "examples": sum(made) * batch} for size, made in sorted(found.items())
    ]


def _range(steps: Sequence[int]) -> str:
    low, high = min(steps), max(steps)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _plan_words(plan: Mapping[str, Any]) -> str:
    words = f"{plan['points']} trainings on {plan['examples']:,} examples together"
    if plan["seconds"] is None:
        words += "; how long that takes is not known before the first one. Scores come on top."
    else:
        price = "" if plan["usd"] is None else f", {plan['usd']:.2f} USD"
        words += f": about {duration(plan['seconds'])} on one worker at the rate of the last training{price}. Scores come on top."
    if plan["fewest_steps"] < _FEWEST_STEPS:
        words += (
            f" {plan['fewest_steps']} steps teach next to nothing: raise num_train_epochs, or give every point as many with "
            "--budget steps max_steps=30."
        )
    return words


def series_of(recipe: Mapping[str, Any]) -> str:
    """Return which curve a point belongs to: its method and what is learnt from."""
    return f"{recipe['method']}, {' and '.join(recipe['origins']) or 'all'}"


def budget_words(recipes: Sequence[Mapping[str, Any]]) -> str:
    """Say what is equal between the points, and which question that answers."""
    steps = {recipe["max_steps"] for recipe in recipes}
    if steps == {-1}:
        epochs = median(recipe["num_train_epochs"] for recipe in recipes)
        return f"Each point was trained for {epochs:g} epochs: more pairs mean more steps too, as they would for you."
    if len(steps) == 1:
        return f"Each point was trained for {steps.pop():,} steps: smaller sets were seen more often."
    return "The points were trained for different numbers of steps: their budgets are not equal."


def fitted(
    points: Sequence[Point], at: Sequence[float] | None, worth: Worth, costs: Costs, *, lower_is_better: bool = False
) -> dict[str, Any]:
    """Return as plain JSON what is fitted to points: the verdict, what is foretold at sizes `at` and of 100 pairs more, and the points."""
    curve = grouped(points)
    largest = float(curve.sizes[-1])
    more = next_sizes(curve)[0] - largest

    def counts(pairs: float) -> float | None:
        """Return what so many pairs more have to bring: more hours have to bring more where the worth is of an hour."""
        return worth.smallest(costs.hours(pairs))

    def foretold_at(sizes: Sequence[float]) -> Extrapolation:
        return extrapolate(curve, sizes, lower_is_better=lower_is_better, worth=counts)

    foretold, (another,) = foretold_at(at or next_sizes(curve)), foretold_at([largest + ANOTHER]).gains
    verdict = decide(curve, lower_is_better=lower_is_better, worth=counts if worth.an_hour else worth.gain)
    return {
        "verdict": verdict.answer,
        "reason": verdict.reason,
        "label": verdict.label,
        "sizes": verdict.sizes,
        "family": foretold.family,
        "weights": foretold.weights,
        "worth": verdict.worth,
        "gain": _plain(verdict.gain),
        "cost": costs.of(more, _promised(verdict.gain), largest),
        "another": _plain(another) | {"pairs": ANOTHER, "cost": costs.of(ANOTHER, _promised(another), largest)},
        "predictions": [_plain(each) for each in foretold.predictions],
        "errors_from": curve.errors_from,
        "points": _measured(curve),
    }


def _promised(gain: Prediction) -> float | None:
    """Return a gain; None where it is refused: what it would be an hour is not to be relied on either."""
    return None if gain.refused else gain.value


def _measured(curve: Curve) -> list[dict[str, Any]]:
    """Return the means by size with their 95% intervals, None where nothing tells these."""
    rows = zip(curve.sizes.tolist(), curve.means.tolist(), curve.seeds.tolist(), strict=True)
    told: list[dict[str, Any]] = [{"size": size, "value": value, "n": seeds, "low": None, "high": None} for size, value, seeds in rows]
    if curve.errors is not None:
        for point, half in zip(told, (curve.quantile * curve.errors).tolist(), strict=True):
            point |= {"low": point["value"] - half, "high": point["value"] + half}
    return told


def _plain(prediction: Prediction) -> dict[str, Any]:
    return {name: getattr(prediction, name) for name in ("size", "value", "low", "high", "refused")}
