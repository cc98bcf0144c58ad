"""Says whether more pairs are worth it: continue, stop, or unsure and what would tell."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from workers.curves.extrapolation import FEWEST_SIZES, Prediction, extrapolate, next_sizes, smallest_gain
from workers.curves.points import Curve

Answer = Literal["continue", "stop", "unsure"]

_OFTEN_ENOUGH = 0.5
_TRIALS = 20
_DRAWS = 60


@dataclass(frozen=True)
class Verdict:
    """What to do, and why.

    Attributes:
        gain: of twice the pairs, better is positive, with its interval.
        worth: the gain below which more pairs are not worth it, in the figure's unit.
        label: how many pairs more would probably tell, where that is unsure; None where up to seven times as many again would not.
    """

    answer: Answer
    reason: str
    gain: Prediction
    worth: float
    label: int | None = None


def decide(curve: Curve, *, lower_is_better: bool = False, worth: float | None = None, seed: int = 0) -> Verdict:
    """Return whether twice the pairs bring at least `worth`.

    Args:
        curve: what was measured.
        lower_is_better: the figure falls with data, as a loss does.
        worth: the smallest gain that counts; default: `smallest_gain`.
        seed: of the draws.
    """
    counts = smallest_gain(curve) if worth is None else worth
    verdict = _decided(curve, lower_is_better, counts, seed=seed)
    if verdict.answer != "unsure":
        return verdict
    return replace(verdict, label=_label(curve, lower_is_better, counts, seed))


def _decided(curve: Curve, lower_is_better: bool, worth: float, *, draws: int = 400, seed: int = 0) -> Verdict:
    twice, _ = next_sizes(curve)
    (gain,) = extrapolate(curve, [twice], lower_is_better=lower_is_better, worth=worth, draws=draws, seed=seed).gains
    if gain.refused:
        return Verdict("unsure", gain.refused, gain, worth)
    if gain.high < worth:
        return Verdict("stop", "twice the pairs would bring less than what counts", gain, worth)
    if gain.low > 0 and gain.value >= worth:
        return Verdict("continue", "twice the pairs would bring what counts", gain, worth)
    return Verdict("unsure", "the interval holds both a gain that counts and none", gain, worth)


def _label(curve: Curve, lower_is_better: bool, worth: float, seed: int) -> int | None:
    """Return how many pairs more would more likely than not end the doubt, if the curve goes on as it may."""
    if len(curve) < FEWEST_SIZES:
        missing = FEWEST_SIZES - len(curve)
        return int(curve.sizes[-1] * (2**missing - 1))
    chance = np.random.default_rng(seed)
    for size in (*next_sizes(curve), 8 * float(curve.sizes[-1])):
        (foretold,) = extrapolate(curve, [size], lower_is_better=lower_is_better, seed=seed).predictions
        spread = (foretold.high - foretold.low) / (2 * 1.96)
        told = 0
        for trial in range(_TRIALS):
            longer = _with_one_more(curve, size, foretold.value + spread * chance.normal())
            told += _decided(longer, lower_is_better, worth, draws=_DRAWS, seed=trial).answer != "unsure"
        if told >= _OFTEN_ENOUGH * _TRIALS:
            return int(size - curve.sizes[-1])
    return None


def _with_one_more(curve: Curve, size: float, value: float) -> Curve:
    errors = None if curve.errors is None else np.append(curve.errors, curve.errors[-1])
    return Curve(np.append(curve.sizes, size), np.append(curve.means, value), np.append(curve.seeds, curve.seeds[-1]), errors)
