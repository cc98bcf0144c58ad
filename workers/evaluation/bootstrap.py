"""Intervals by the percentile bootstrap (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13)."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHUNK = 4_000_000
"""Drawn indices held at once (32 MB), whatever the number of rows and resamples."""


@dataclass(frozen=True)
class Figure:
    """A mean over `n` rows with its 95% interval, in the unit of the values."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int]:
        """Plain JSON, keys `value`, `low`, `high`, `n`."""
        return asdict(self)


def interval(values: ArrayLike, resamples: int = 2000, seed: int = 0) -> Figure:
    """The mean of `values`, shape (rows,), with its 95% interval over `resamples` draws of rows with replacement.

    Raises:
        ValueError: there are no values, or not a row of finite numbers.
    """
    rows = _rows(values)
    means = _resampled_means(rows, resamples, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return Figure(float(rows.mean()), float(low), float(high), len(rows))


def difference(values: ArrayLike, others: ArrayLike, resamples: int = 2000, seed: int = 0) -> Figure:
    """The mean of `values - others`, paired row by row, with its 95% interval: above 0, the first system is better.

    Raises:
        ValueError: the two differ in length, or as in `interval`.
    """
    left, right = _rows(values), _rows(others)
    if len(left) != len(right):
        raise ValueError(f"{len(left)} values beside {len(right)}: a paired difference needs both systems' scores of the same rows")
    return interval(left - right, resamples, seed)


def ratio(numerators: ArrayLike, denominators: ArrayLike, resamples: int = 2000, seed: int = 0) -> Figure:
    """The sum of `numerators` over the sum of `denominators`, both of shape (rows,), with its 95% interval over draws of rows.

    For what is counted in parts of a row, such as words in tweets. A draw without denominator says nothing and is left out.

    Raises:
        ValueError: the denominators sum to 0, the two differ in length, or as in `interval`.
    """
    above, below = _rows(numerators), _rows(denominators)
    if len(above) != len(below):
        raise ValueError(f"{len(above)} numerators over {len(below)} denominators: every row needs both")
    if below.sum() == 0:
        raise ValueError("the denominators sum to 0: there is nothing to take a share of")
    means, mean_denominators = _resampled_means(above, resamples, seed), _resampled_means(below, resamples, seed)
    telling = mean_denominators != 0
    low, high = np.percentile(means[telling] / mean_denominators[telling], [2.5, 97.5])
    return Figure(float(above.sum() / below.sum()), float(low), float(high), len(above))


def _rows(values: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 1 or rows.size == 0:
        raise ValueError(f"the bootstrap needs one row of at least one value, not shape {rows.shape}: is the evaluation set empty?")
    if not np.isfinite(rows).all():
        raise ValueError("a score is not a finite number: leave that row out and count it")
    return rows


def _resampled_means(rows: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}: give at least 1, better 2000")
    generator = np.random.default_rng(seed)
    at_once = max(1, CHUNK // len(rows))
    means: list[NDArray[np.float64]] = []
    for start in range(0, resamples, at_once):
        draws = generator.integers(len(rows), size=(min(at_once, resamples - start), len(rows)))
        means.append(rows[draws].mean(axis=1))
    return np.concatenate(means)
