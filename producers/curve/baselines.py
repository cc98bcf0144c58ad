"""Asks whether training pays at all: the models of a curve's largest size against what needs no training, on the same rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from workers.curves.differences import Interval, mean_difference, unpaired
from workers.curves.points import Curve

if TYPE_CHECKING:
    from workers.catalog.curves import PointStatus


def sharing_baselines(points: Sequence[PointStatus], jobs: Collection[UUID] | None) -> list[PointStatus]:
    """Return those of a curve's points that systems without training score the same for as for the points of the trainings `jobs`.

    These systems are scored beside one model, which may be of another method, origin or size than those; None: of all points.
    """
    shared = {point.untuned for point in points if jobs is None or point.training in jobs}
    return [point for point in points if point.untuned in shared]


def without_training(points: Sequence[PointStatus], metric: str) -> dict[str, Any]:
    """Return what each system beside the models scored, as plain JSON by name: all that any comparison of the curve names."""
    found: dict[str, Any] = {}
    for point in points:
        found |= {name: system[metric] for name, system in point.systems.items() if name != point.name}
    return found


def held_against(points: Sequence[PointStatus], baselines: Mapping[str, Any], curve: Curve, metric: str) -> list[dict[str, Any]]:
    """Return by how much the models of the largest size are above each baseline, the best baseline first, as plain JSON.

    Args:
        points: of one method and origin, those that have a score.
        baselines: as `without_training` returns them.
        curve: of these points: its seeds tell how much another training would differ.
        metric: that is compared, higher is better.
    """
    largest = max(point.recipe["pairs"] for point in points)
    models = [point for point in points if point.recipe["pairs"] == largest]
    between = curve.quantile * float(curve.errors[-1]) if curve.freedom and curve.errors is not None else 0.0
    by_value = sorted(baselines, key=lambda name: -float(baselines[name]["value"]))
    return [_held(models, name, baselines[name], between, metric) for name in by_value]


def _held(models: Sequence[PointStatus], name: str, baseline: Mapping[str, Any], between: float, metric: str) -> dict[str, Any]:
    paired = [difference for model in models if (difference := _paired(model, name, metric)) is not None]
    # One paired difference is closer than any number without: some systems are written for one model's rows alone.
    differences = paired or [unpaired(_interval(model.figures[metric]), _interval(baseline)) for model in models if model.figures]
    found = mean_difference(differences, between * (len(models) / len(differences)) ** 0.5)
    answer = "better" if found.low > 0 else "worse" if found.high < 0 else "not shown"
    told = {"baseline": name, "score": baseline["value"], "difference": found.value, "low": found.low, "high": found.high}
    return told | {"n": baseline["n"], "models": len(differences), "paired": bool(paired), "answer": answer}


def _paired(model: PointStatus, baseline: str, metric: str) -> Interval | None:
    """Return by how much the model is above the baseline where a comparison held both; a comparison names either first."""
    for pair in model.pairs:
        if pair["metric"] == metric and (pair["a"], pair["b"]) == (model.name, baseline):
            return Interval(pair["difference"], pair["low"], pair["high"])
        if pair["metric"] == metric and (pair["a"], pair["b"]) == (baseline, model.name):
            return Interval(-pair["difference"], -pair["high"], -pair["low"])
    return None


def _interval(figure: Mapping[str, Any]) -> Interval:
    return Interval(figure["value"], figure["low"], figure["high"])
