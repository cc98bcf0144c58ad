"""Lays out a learning curve: a training for each size, seed, origin and method, of a recipe that stays the same in all else.

Subsets are nested: the pairs of a size are among those of every larger one with the same seed. Budgets are equal in one of two ways, and
these answer different questions. With equal epochs more pairs also mean more steps: what does a user get who labels more and trains as
long as that takes? With equal steps each point sees as many examples, the smaller sets more often: what do other pairs bring by themselves?
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

from producers.render.exit_codes import UsageError
from schemas.training import MethodName, Origin, TrainingSpec
from workers.errors import UserError

Budget = Literal["epochs", "steps"]
Mixture = Literal["human", "noise", "mix"]

ORIGINS: Mapping[Mixture, tuple[Origin, ...]] = {"human": ("human",), "noise": ("noise",), "mix": ("human", "noise")}
"""What a point learns from: the pairs, noise that was made of them in their stead, or both."""


@dataclass(frozen=True)
class CurvePoint:
    """One training of a curve: the subset that it learns from, and the whole of its recipe."""

    method: MethodName
    origin: Mixture
    size: int
    seed: int
    spec: TrainingSpec

    @property
    def series(self) -> str:
        """The curve that it is a point of: its method and what is learnt from."""
        return f"{self.method}, {self.origin}"


def lay_out(
    recipe: TrainingSpec,
    *,
    sizes: Sequence[int],
    seeds: int,
    origins: Sequence[Mixture],
    methods: Sequence[MethodName],
    budget: Budget,
    lines: Callable[[TrainingSpec], int],
) -> list[CurvePoint]:
    """Return the points, the smallest sizes first, so that a curve is seen early.

    Args:
        recipe: of every point.
        sizes: curated pairs to learn from.
        seeds: how many subsets of each size, and how often it is trained.
        origins: what is learnt from.
        methods: of training.
        budget: what is equal between the points.
        lines: returns how many lines a training sees in an epoch.

    Raises:
        UserError: the recipe can't be that of a curve.
    """
    if recipe.pairs is not None or recipe.origins:
        raise UserError("pairs and origins are what a curve varies: leave them out of the recipe")
    if recipe.early_stopping_patience:
        raise UserError("early_stopping_patience would end some points before their budget: set it to 0")
    if budget == "epochs" and recipe.max_steps > 0:
        raise UserError("max_steps gives every point as many steps: say --budget steps, or leave max_steps out")
    points = [
        CurvePoint(method, origin, size, seed, _spec(recipe, method, origin, size, seed))
        for size, seed, origin, method in product(sorted(set(sizes)), range(seeds), origins, methods)
    ]
    if budget == "epochs":
        return points
    steps = recipe.max_steps if recipe.max_steps > 0 else max(_planned(point.spec, lines(point.spec)) for point in points)
    return [CurvePoint(p.method, p.origin, p.size, p.seed, p.spec.model_copy(update={"max_steps": steps})) for p in points]


def steps_of(spec: TrainingSpec, lines: Callable[[TrainingSpec], int]) -> int:
    """Return the optimizer steps of a point; `lines` counts what it sees in an epoch, and is asked only where steps follow from that."""
    return spec.max_steps if spec.max_steps > 0 else _planned(spec, lines(spec))


def _planned(spec: TrainingSpec, lines: int) -> int:
    return max(1, math.ceil(lines * spec.num_train_epochs / spec.global_batch))


def check_origins(points: Sequence[CurvePoint], dataset: str, examples: Callable[[TrainingSpec], int]) -> None:
    """Refuse a curve some of whose points would have nothing to learn from, or none of whose mixtures would be one.

    Args:
        points: as they are laid out.
        dataset: its name.
        examples: counts those that a training learns from.

    Raises:
        UsageError: an origin has no examples.
    """
    counted: dict[tuple[Origin, int, int], int] = {}  # whatever the method, and whether alone or in a mixture

    def count(origin: Origin, size: int, seed: int, spec: TrainingSpec) -> int:
        if (origin, size, seed) not in counted:
            counted[origin, size, seed] = examples(spec.model_copy(update={"origins": (origin,)}))
        return counted[origin, size, seed]

    for mixture in dict.fromkeys(point.origin for point in points):
        drawn = {(point.size, point.seed): point.spec for point in points if point.origin == mixture}
        for origin in ORIGINS[mixture]:
            without = [subset for subset, spec in drawn.items() if not count(origin, *subset, spec)]
            # A small subset of a mixture may have no noise. All of them without any are no mixture.
            if without and (len(ORIGINS[mixture]) == 1 or len(without) == len(drawn)):
                raise UsageError(_nothing_of(origin, mixture, dataset, points[0].spec, None if len(without) == len(drawn) else without[0]))


def _nothing_of(origin: Origin, mixture: Mixture, dataset: str, recipe: TrainingSpec, subset: tuple[int, int] | None) -> str:
    """Say which origin has no examples, in the whole dataset or in a `subset` given by its size and seed, and what gives it some."""
    of = f" of the {subset[0]:,} pairs that seed {subset[1]} draws" if subset is not None else ""
    lacks = f"--origins {mixture}: dataset {dataset} has no examples of origin {origin}{of}"
    if origin == "human":
        return f"{lacks} with a clean text, which learn_from: clean needs"
    make = f"tweetmill synthesize -r recipes/synthesis-{recipe.stage.value}.yaml dataset={shlex.quote(dataset)} pairs=FILE"
    return f"{lacks}: `{make}` makes noise of your pairs"


def _spec(recipe: TrainingSpec, method: MethodName, origin: Mixture, size: int, seed: int) -> TrainingSpec:
    changes = {
        "name": f"{recipe.name}-{method}-{origin}-{size}-{seed}",
        "curve": recipe.name,
        "method": method,
        "origins": ORIGINS[origin],
        "pairs": size,
        "pairs_seed": seed,
        "seed": recipe.seed + seed,
    }
    return TrainingSpec.model_validate({**recipe.model_dump(), **changes})
