"""Computes 95% intervals of means and ratios by the bootstrap over rows, with `scipy.stats.bootstrap`.

Intervals are bias-corrected and accelerated (BCa: B. Efron, Better Bootstrap Confidence Intervals, JASA 82, 1987). They are percentiles
of the resampled figures where BCa is not defined, as for equal values or where one row alone has a denominator, and beyond `BCA_ROWS`.
scipy is imported when an interval is computed: it comes with the worker's extra `gpu`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CHUNK = 4_000_000
"""Drawn values held at once (32 MB for each array), whatever the number of rows and resamples."""

BCA_ROWS = 5000
"""Rows up to which intervals are BCa: its jackknife takes time with their square, and its correction shrinks with their number."""

LEVEL = 0.95

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A mean or ratio over `n` rows with its 95% interval, in the unit of the values."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int]:
        """Return plain JSON with the keys `value`, `low`, `high`, `n`."""
        return asdict(self)


def interval(values: ArrayLike, resamples: int = 2000, seed: int = 0) -> Figure:
    """Return the mean of `values`, shape (rows,), with its interval over `resamples` draws of rows with replacement.

    Raises:
        ValueError: there are no values, or they are not one row of finite numbers.
    """
    rows = _rows(values)
    return _figures((rows,), _mean, resamples, seed, (LEVEL,))[0]


def difference(values: ArrayLike, others: ArrayLike, resamples: int = 2000, seed: int = 0) -> Figure:
    """Return the mean of `values - others`, paired row by row, with its interval: above 0, the first system is better.

    Raises:
        ValueError: the two differ in length, or as in `interval`.
    """
    return difference_at(values, others, (LEVEL,), resamples, seed)[0]


def difference_at(values: ArrayLike, others: ArrayLike, levels: Sequence[float], resamples: int = 2000, seed: int = 0) -> list[Figure]:
    """Return the same with an interval at each of `levels`, all of them of the same draws.

    Raises:
        ValueError: as in `difference`.
    """
    left, right = _rows(values), _rows(others)
    if len(left) != len(right):
        raise ValueError(f"{len(left)} values beside {len(right)}: a paired difference needs both systems' scores of the same rows")
    return _figures((left - right,), _mean, resamples, seed, levels)


def ratio(numerators: ArrayLike, denominators: ArrayLike, resamples: int = 2000, seed: int = 0) -> Figure:
    """Return the sum of `numerators` over the sum of `denominators`, both of shape (rows,), with its interval over draws of rows.

    For what is counted in parts of a row, such as words in tweets. Draws whose denominators sum to 0 are left out.

    Raises:
        ValueError: the denominators sum to 0, the two differ in length, or as in `interval`.
    """
    above, below = _rows(numerators), _rows(denominators)
    if len(above) != len(below):
        raise ValueError(f"{len(above)} numerators over {len(below)} denominators: every row needs both")
    if below.sum() == 0:
        raise ValueError("the denominators sum to 0: there is nothing to take a share of")
    return _figures((above, below), _ratio, resamples, seed, (LEVEL,))[0]


def _mean(rows: Array, axis: int = -1) -> Array:
    mean: Array = rows.mean(axis=axis)
    return mean


def _ratio(above: Array, below: Array, axis: int = -1) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Array = above.sum(axis=axis) / below.sum(axis=axis)
    return share


def _figures(data: tuple[Array, ...], statistic: Callable[..., Array], resamples: int, seed: int, levels: Sequence[float]) -> list[Figure]:
    """Return the statistic of `data`, arrays of shape (rows,) that are drawn together, with its interval at each level."""
    from scipy.stats import bootstrap

    if resamples < 1:
        raise ValueError(f"resamples is {resamples}: give at least 1, better 2000")
    count = len(data[0])
    value = float(statistic(*data))
    if count == 1:
        return [Figure(value, value, value, count)] * len(levels)
    found: list[Figure] = []
    result = None
    for level in levels:
        with warnings.catch_warnings():  # where BCa is undefined, scipy warns and gives nan
            warnings.simplefilter("ignore")
            result = bootstrap(
                data,
                statistic,
                n_resamples=resamples if result is None else 0,
                batch=max(1, CHUNK // count),
                vectorized=True,
                paired=True,
                confidence_level=level,
                method="BCa" if count <= BCA_ROWS else "percentile",
                bootstrap_result=result,
                rng=np.random.default_rng(seed),
            )
        low, high = result.confidence_interval
        if not np.isfinite([low, high]).all():
            drawn = result.bootstrap_distribution
            low, high = np.percentile(drawn[np.isfinite(drawn)], [50 * (1 - level), 50 * (1 + level)])
        found.append(Figure(value, float(low), float(high), count))
    return found


def _rows(values: ArrayLike) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 1 or rows.size == 0:
        raise ValueError(f"the bootstrap needs one row of at least one value, not shape {rows.shape}: is the evaluation set empty?")
    if not np.isfinite(rows).all():
        raise ValueError("a score is not a finite number: leave that row out and count it")
    return rows
