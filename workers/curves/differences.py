"""Puts together by how much several models are above a baseline on the same rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True)
class Interval:
    """A figure, or by how much one is above another, with its 95% interval, in the unit of the figure."""

    value: float
    low: float
    high: float


def mean_difference(differences: Sequence[Interval], between_models: float = 0.0) -> Interval:
    """Return the mean of the differences of models that were trained alike, with its interval.

    What the choice of rows leaves open is common to all of them, since they were scored on the same rows, so it does not shrink with their
    number: the mean of their intervals' arms. What the choice of seeds leaves open is added in squares.

    Args:
        differences: of each model to the same baseline.
        between_models: half of the 95% interval that the spread between the models leaves for their mean; 0 for one model.

    Raises:
        ValueError: there are none.
    """
    if not differences:
        raise ValueError("there are no differences")
    value = fmean(each.value for each in differences)
    below = math.hypot(fmean(each.value - each.low for each in differences), between_models)
    above = math.hypot(fmean(each.high - each.value for each in differences), between_models)
    return Interval(value, value - below, value + above)


def unpaired(value: Interval, other: Interval) -> Interval:
    """Return `value - other` of two figures whose rows can't be paired: wider than a paired difference on the same rows."""
    between = value.value - other.value
    below = math.hypot(value.value - value.low, other.high - other.value)
    above = math.hypot(value.high - value.value, other.value - other.low)
    return Interval(between, between - below, between + above)
