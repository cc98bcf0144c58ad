"""Says what a learning curve comes to at sizes that nobody measured, how far off that may be, and when it can't be said.

Each law of `families` is fitted, weighted by 1 / se^2. The laws are stacked by how well they foretell the largest sizes from the smaller
ones. The interval adds two parts:

- what the measurements leave open: the same fit for draws of the means within their errors (a parametric bootstrap);
- what the laws themselves miss. Its size is the error with which the largest sizes were foretold and a share of the gain that is foretold,
  times a factor that was measured on published curves, so that 95% of them end inside (conformal prediction: Vovk, Gammerman and Shafer,
  Algorithmic Learning in a Random World, 2005). docs/evaluation.md says on which, and with which coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from workers.curves.families import FAMILIES, POWER, RECTIFIED, Array, predict
from workers.curves.points import Curve

DRAWS = 400
FEWEST_SIZES = 4
"""Distinct sizes below which nothing is foretold: a law of three parameters goes through any three points."""

FARTHEST = 4
"""Times the largest size up to which the intervals were tried; beyond that nothing is foretold."""

_SHARE_OF_GAIN = 0.3
_FACTOR_AT_TWICE, _GROWTH = 0.9, 0.65
"""Measured on 60 curves of Lin et al. (`RECTIFIED`), fitted on their first five sizes: 0.9 at twice the largest size, 1.4 at four times."""


@dataclass(frozen=True)
class Prediction:
    """The figure at `size` pairs with its 95% interval; `refused` says why it is not to be relied on."""

    size: float
    value: float
    low: float
    high: float
    refused: str | None = None


@dataclass(frozen=True)
class Extrapolation:
    """What a curve foretells.

    Attributes:
        family: the law that weighs most.
        weights: of the laws, by name.
        predictions: in the order asked for.
        gains: change from the largest size to each prediction, better is positive, as predictions of that size.
    """

    family: str
    weights: dict[str, float]
    predictions: tuple[Prediction, ...]
    gains: tuple[Prediction, ...]


Worth = Callable[[float], float | None]
"""Returns the smallest gain that counts for so many pairs more, where that goes by them; None: the default."""


def smallest_gain(curve: Curve) -> float:
    """Return the gain that counts unless the user says another: a hundredth of the figure at the largest size."""
    return 0.01 * abs(float(curve.means[-1]))


def counting(curve: Curve, worth: Worth | float | None, size: float) -> float:
    """Return the smallest change between the largest size and another one that counts; of a smaller one as of twice the largest."""
    largest = float(curve.sizes[-1])
    counts = worth(size - largest if size > largest else largest) if callable(worth) else worth
    return smallest_gain(curve) if counts is None else counts


def extrapolate(
    curve: Curve,
    at: Sequence[float],
    *,
    lower_is_better: bool = False,
    worth: Worth | float | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Extrapolation:
    """Return the figure at the sizes `at`, with intervals.

    Args:
        curve: what was measured.
        at: sizes, in pairs.
        lower_is_better: the figure falls with data, as a loss does.
        worth: the smallest change that counts, of any size or by the pairs more that it takes; default: `smallest_gain`.
        draws: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: a size is not positive.
    """
    places = np.array(at, float)
    if not (np.isfinite(places) & (places > 0)).all():
        raise ValueError("sizes to foretell must be numbers above 0")
    sign = 1.0 if lower_is_better else -1.0
    losses = sign * curve.means
    weights = np.ones(len(curve)) if curve.errors is None else 1 / curve.errors**2
    # The largest size itself comes last: what is gained from there on is less uncertain than either end.
    fit = _stacked(curve.sizes, losses[None], weights, np.append(places, curve.sizes[-1]))
    values, gains = fit.values[0, :-1], fit.values[0, -1] - fit.values[0, :-1]
    noise = _bootstrap(curve, losses, weights, places, draws, seed)
    doublings = np.maximum(np.log2(places / curve.sizes[-1]), 0.25)
    factor, share = _FACTOR_AT_TWICE * doublings**_GROWTH, _SHARE_OF_GAIN * gains
    of_values = np.hypot(noise.of_values, factor * np.hypot(share, fit.missed[0]))
    # What noise alone misses is in the bootstrap already. At two ends it is the same noise, so that it would count twice.
    of_laws = np.sqrt(max(fit.missed[0] ** 2 - noise.missed**2, 0.0))
    of_gains = np.hypot(noise.of_gains, factor * np.hypot(share, of_laws))
    counts = [counting(curve, worth, place) for place in places.tolist()]
    refused = _refusals(curve, places, fit, gains, of_values, of_gains, counts)
    stated = _predictions(places, sign * values, of_values, refused)
    changes = _predictions(places, gains, of_gains, refused)
    shares = {family.name: round(float(share), 4) for family, share in zip(FAMILIES, fit.weights[:, 0], strict=True)}
    return Extrapolation(max(shares, key=lambda name: shares[name]), shares, stated, changes)


@dataclass(frozen=True)
class _Stacked:
    values: Array  # (draws, places)
    each: Array  # (families, draws, places)
    weights: Array  # (families, draws)
    missed: Array  # (draws,): by how much the largest sizes were missed from the smaller ones


def _stacked(sizes: Array, losses: Array, weights: Array, places: Array) -> _Stacked:
    """Fit every law to each draw of `losses`, shape (draws, sizes), and stack them by their error at the largest sizes left out."""
    each = np.array([predict(family, sizes, losses, weights, places) for family in FAMILIES])
    missed = []
    for family in FAMILIES:
        squares = [np.zeros((len(losses), 0))]
        for kept in {len(sizes) - 1, len(sizes) - 2}:
            if kept >= min(family.needs, 3):
                foretold = predict(family, sizes[:kept], losses[:, :kept], weights[:kept], sizes[kept:])
                squares.append((foretold - losses[:, kept:]) ** 2)
        found = np.concatenate(squares, axis=1)
        missed.append(np.sqrt(found.mean(axis=1)) if found.size else np.full(len(losses), np.inf))
    errors = np.array(missed)
    precise = 1 / (np.where(np.isfinite(errors), errors, 1e6) ** 2 + 1e-18)
    shares = precise / precise.sum(axis=0)
    values = np.einsum("fd,fdp->dp", shares, each)
    return _Stacked(values, each, shares, (shares * np.where(np.isfinite(errors), errors, 0)).sum(axis=0))


@dataclass(frozen=True)
class _Noise:
    """Half the width of 95% intervals of values and gains, shape (places,), and by how much noise alone misses the largest sizes."""

    of_values: Array
    of_gains: Array
    missed: float


def _bootstrap(curve: Curve, losses: Array, weights: Array, places: Array, draws: int, seed: int) -> _Noise:
    """Return what differs between draws of the means within their errors."""
    if curve.errors is None:
        return _Noise(np.zeros(len(places)), np.zeros(len(places)), 0.0)
    noise = np.random.default_rng(seed).normal(size=(draws, len(curve)))
    stacked = _stacked(curve.sizes, losses + noise * curve.errors, weights, np.append(places, curve.sizes[-1]))
    drawn, width = stacked.values, curve.quantile
    # The draws have the measurements' noise and as much again.
    missed = float((stacked.missed**2).mean() / 2) ** 0.5
    return _Noise(width * drawn[:, :-1].std(axis=0), width * (drawn[:, -1:] - drawn[:, :-1]).std(axis=0), missed)


def _predictions(places: Array, values: Array, half: Array, refused: Sequence[str | None]) -> tuple[Prediction, ...]:
    rows = zip(places.tolist(), values.tolist(), half.tolist(), refused, strict=True)
    return tuple(Prediction(size, value, value - each, value + each, why) for size, value, each, why in rows)


def _refusals(
    curve: Curve, places: Array, fit: _Stacked, gains: Array, of_values: Array, of_gains: Array, counts: Sequence[float]
) -> list[str | None]:
    """Say of each prediction why it is not to be relied on, given the half widths of its value's and its gain's interval."""
    if len(curve) < FEWEST_SIZES:
        return [f"{len(curve)} sizes are too few: at least {FEWEST_SIZES} are needed"] * len(gains)
    power, rectified = (fit.each[FAMILIES.index(family), 0, :-1] for family in (POWER, RECTIFIED))
    whys: list[str | None] = []
    rows = zip(places, abs(power - rectified), gains, of_values, of_gains, counts, strict=True)
    for place, apart, gain, value_half, gain_half, worth in rows:
        if place > FARTHEST * curve.sizes[-1]:
            whys.append(f"it is more than {FARTHEST} times the largest size")
        elif apart > 2 * value_half:
            whys.append(f"the {POWER.name} and the {RECTIFIED.name} differ by more than the interval")
        elif gain - gain_half < -worth and gain + gain_half > worth:
            whys.append("it may as well be worse as better by more than what counts")
        else:
            whys.append(None)
    return whys


def next_sizes(curve: Curve) -> tuple[float, float]:
    """Return twice and four times the largest size that was measured."""
    return 2 * float(curve.sizes[-1]), FARTHEST * float(curve.sizes[-1])
