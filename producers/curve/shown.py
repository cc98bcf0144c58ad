"""Chooses which points of a curve are shown together: those of one recipe, whose scores stand on the same base, dataset and prompts.

A name may have been used for several recipes. Their points are no seeds of each other: what differs between them is not chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.training import TrainingSpec

if TYPE_CHECKING:
    from workers.catalog.curves import PointStatus

_VARIED = {"name", "curve", "method", "origins", "pairs", "pairs_seed", "seed"}
"""What differs between the points of a curve."""

_OF_NO_MODEL = {"logging_steps", "save_steps", "stall_timeout", "report_to"}
"""What changes nothing of the model that is made."""

_OF_METHODS = {"freeze_": ("freeze",), "expand_": ("expand",), "lora_": ("lora", "qlora"), "use_": ("lora", "qlora")}
"""How the keys begin that some methods alone read."""

# A training that was asked for before there was a key had what is its default now.
_DEFAULTS = TrainingSpec(name="none", base="none", dataset="none").model_dump(mode="json")


@dataclass(frozen=True)
class Shown:
    """The points that are shown, and how many are not: those of another base, dataset or prompts, and those of `other_recipes`."""

    points: list[PointStatus]
    left_out: int = 0
    other_recipes: int = 0


def newest(points: Sequence[PointStatus]) -> PointStatus:
    """Return the point that was asked for last of those that have a score, or of all where none has one: what is shown goes by it."""
    return next((point for point in reversed(points) if point.figures is not None), points[-1])


def shown(points: Sequence[PointStatus]) -> Shown:
    """Return the points that can be compared with the newest one, in the same order."""
    if not points:
        return Shown([])
    last = newest(points)
    comparable = [point for point in points if point.figures is None or point.untuned == last.untuned]
    alike = [point for point in comparable if _asked(point) == _asked(last)]
    of_methods = {method: _of_method(newest(each)) for method, each in _by_method(alike).items()}
    kept = [point for point in alike if _of_method(point) == of_methods[_method(point)]]
    return Shown(kept, len(points) - len(comparable), len(comparable) - len(kept))


def _by_method(points: Sequence[PointStatus]) -> Mapping[Any, list[PointStatus]]:
    found: dict[Any, list[PointStatus]] = {}
    for point in points:
        found.setdefault(_method(point), []).append(point)
    return found


def _method(point: PointStatus) -> Any:
    return (_DEFAULTS | dict(point.recipe))["method"]


def _asked(point: PointStatus) -> dict[str, Any]:
    """Return what a training was asked for, whatever its method, but for what a curve varies."""
    recipe = _DEFAULTS | dict(point.recipe)
    return {key: value for key, value in recipe.items() if key not in _VARIED | _OF_NO_MODEL and _readers(key) is None}


def _of_method(point: PointStatus) -> dict[str, Any]:
    """Return what its method alone reads: another method's points may have been asked for with other such keys."""
    recipe = _DEFAULTS | dict(point.recipe)
    return {key: value for key, value in recipe.items() if recipe["method"] in (_readers(key) or ())}


def _readers(key: str) -> tuple[str, ...] | None:
    """Return the methods that read a key; None: all."""
    return next((methods for beginning, methods in _OF_METHODS.items() if key.startswith(beginning)), None)
