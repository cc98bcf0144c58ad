"""Says whether more pairs are worth it: continue, stop, or unsure and what would tell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from workers.curves.extrapolation import FEWEST_SIZES, Prediction, Worth, counting, extrapolate, next_sizes, smallest_gain
from workers.curves.points import Curve

Answer = Literal["continue", "stop", "unsure"]

FEWEST_PAIRS = 10
"""Pairs below which no subset is advised: so few teach next to nothing."""

_OFTEN_ENOUGH = 0.5
_TRIALS = 20
_DRAWS = 60


@dataclass(frozen=True)
class Verdict:
    """What to do, and why.

    Attributes:
        gain: of twice the pairs, better is positive, with its interval.
        worth: the gain below which more pairs are not worth it, in the figure's unit.
        label: how many pairs more would probably tell, where that is unsure; None where up to seven times as many again would not, and
            where none is needed, since smaller subsets of the pairs that there are make up for too few sizes.
        sizes: what to measure where there are too few sizes for a fit: those that there are and others, with `label` pairs more where that
            says so; None where there are enough.
    """

    answer: Answer
    reason: str
    gain: Prediction
    worth: float
    label: int | None = None
    sizes: tuple[float, ...] | None = None


def decide(curve: Curve, *, lower_is_better: bool = False, worth: Worth | float | None = None, seed: int = 0) -> Verdict:
    """Return whether twice the pairs bring at least `worth`.

    Args:
        curve: what was measured.
        lower_is_better: the figure falls with data, as a loss does.
        worth: the smallest gain that counts, whatever the pairs or by how many more there are; default: `smallest_gain`.
        seed: of the draws.
    """
    # The default is a share of what is measured now, for longer curves too: else what counts would move with what is guessed of them.
    counts = worth if callable(worth) else smallest_gain(curve) if worth is None else worth
    verdict = _decided(curve, lower_is_better, counts, seed=seed)
    if verdict.answer != "unsure":
        return verdict
    if len(curve) < FEWEST_SIZES:
        label, sizes = missing_sizes(curve.sizes.tolist())
        return replace(verdict, label=label, sizes=sizes)
    return replace(verdict, label=_label(curve, lower_is_better, counts, seed))


def missing_sizes(sizes: Sequence[float]) -> tuple[int | None, tuple[float, ...]]:
    """Return how many pairs more make enough sizes for a fit, None where the ones that there are do, and these sizes, smallest first."""
    enough = _with_halves(sizes)
    if enough is not None:
        return None, enough
    largest = max(sizes)
    doubled = [largest * 2**times for times in range(1, FEWEST_SIZES - len(set(sizes)) + 1)]
    fewest = FEWEST_PAIRS * 2 ** (FEWEST_SIZES - 1)  # whose halves are enough
    if doubled[-1] <= fewest:
        return math.ceil(doubled[-1] - largest), _plain(sizes, doubled)
    return math.ceil(fewest - largest), _with_halves([*sizes, fewest]) or ()


def _with_halves(sizes: Sequence[float]) -> tuple[float, ...] | None:
    """Return the sizes with as many halves of the largest as make them enough for a fit; None where too few of them are large enough."""
    found, each = set(sizes), max(sizes)
    while len(found) < FEWEST_SIZES and each // 2 >= FEWEST_PAIRS:
        each //= 2
        found.add(each)
    return _plain(found) if len(found) >= FEWEST_SIZES else None


def _plain(*sizes: Iterable[float]) -> tuple[float, ...]:
    """Return sizes in order, whole ones as whole numbers."""
    return tuple(sorted({int(size) if float(size).is_integer() else size for each in sizes for size in each}))


def _decided(curve: Curve, lower_is_better: bool, by_pairs: Worth | float, *, draws: int = 400, seed: int = 0) -> Verdict:
    twice, _ = next_sizes(curve)
    worth = counting(curve, by_pairs, twice)
    (gain,) = extrapolate(curve, [twice], lower_is_better=lower_is_better, worth=worth, draws=draws, seed=seed).gains
    if gain.refused:
        return Verdict("unsure", gain.refused, gain, worth)
    if gain.high < worth:
        return Verdict("stop", "twice the pairs would bring less than what counts", gain, worth)
    if gain.low > 0 and gain.value >= worth:
        return Verdict("continue", "twice the pairs would bring what counts", gain, worth)
    return Verdict("unsure", "the interval holds both a gain that counts and none", gain, worth)


def _label(curve: Curve, lower_is_better: bool, worth: Worth | float, seed: int) -> int | None:
    """Return how many pairs more would more likely than not end the doubt, if the curve goes on as it may."""
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
    seeds = np.append(curve.seeds, curve.seeds[-1])
    return Curve(np.append(curve.sizes, size), np.append(curve.means, value), seeds, errors, curve.errors_from)
