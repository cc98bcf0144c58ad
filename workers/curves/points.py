"""Groups what was measured by size: one mean and one standard error for each number of pairs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Source = Literal["seeds", "points"]

_AS_FAR_APART = 0.95  # of what seeds may differ by where the errors that points name are all there is


@dataclass(frozen=True)
class Point:
    """One measurement: a model that learnt from `size` pairs had the figure `value`, known to `se` (None: not said)."""

    size: float
    value: float
    se: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no curve can hold.

        Raises:
            ValueError: the size is not positive, the error negative, or anything not finite.
        """
        if not (math.isfinite(self.size) and self.size > 0):
            raise ValueError("size must be a number above 0")
        if not math.isfinite(self.value):
            raise ValueError("value must be a finite number")
        if self.se is not None and not (math.isfinite(self.se) and self.se >= 0):
            raise ValueError("se must be a number of 0 or more")


@dataclass(frozen=True)
class Curve:
    """Means by size, smallest first: `sizes`, `means` and `seeds`, shape (sizes,).

    `errors` are standard errors of the means, or None where nothing measured tells them: no repeated size, no `se`. `errors_from` says what
    supplies them: the spread of `seeds`, or the `points`, each of which named its own; None where nothing does.
    """

    sizes: Array
    means: Array
    seeds: NDArray[np.int64]
    errors: Array | None
    errors_from: Source | None

    def __len__(self) -> int:
        """The number of distinct sizes."""
        return len(self.sizes)

    def up_to(self, count: int) -> Curve:
        """Return the curve of the `count` smallest sizes."""
        errors = None if self.errors is None else self.errors[:count]
        return Curve(self.sizes[:count], self.means[:count], self.seeds[:count], errors, self.errors_from)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of what seeds tell of the errors: 0 where no size has two, or the points name their errors themselves."""
        return _freedom(self.seeds) if self.errors_from == "seeds" else 0

    @property
    def quantile(self) -> float:
        """How many standard errors 95% lie within: Student's where seeds told them, which are few, the normal one where they are known."""
        from scipy.stats import t

        return float(t.ppf(0.975, self.freedom)) if self.freedom else 1.96


def grouped(points: Sequence[Point]) -> Curve:
    """Return the points as a curve: repeated sizes are seeds, and what one size says of their spread is pooled with the others.

    The spread between seeds is pooled since two or three of one size hardly tell it. Where all sizes name an error of their own (of the
    test rows, say), that is known and supplies the errors: seeds that share a test share its error. Seeds count beside it only where they
    differ by more than these errors leave to chance. Then, and where some sizes name none, a mean has the larger of both.

    Raises:
        ValueError: there are no points.
    """
    if not points:
        raise ValueError("there are no points")
    by_size: dict[float, list[Point]] = defaultdict(list)
    for point in points:
        by_size[point.size].append(point)
    sizes = np.array(sorted(by_size))
    values = [np.array([point.value for point in by_size[size]]) for size in sizes]
    seeds = np.array([len(each) for each in values])
    errors, source = _errors([by_size[size] for size in sizes], values, seeds)
    return Curve(sizes, np.array([each.mean() for each in values]), seeds, errors, source)


def of_shared_rows(points: Sequence[Point]) -> list[Point]:
    """Return the points of models that were scored on the same rows, without an error of their own where seeds tell one.

    The error of a score says how far it would be on other rows. Most of it is common to all points, which see the same rows, and is no part
    of what one size gains on another: the spread of seeds is. Where no size has two seeds nothing tells that spread. Then the error of each
    score stands in for it, and intervals are too wide rather than too narrow, as paired differences on the same rows vary less.
    """
    sizes = [point.size for point in points]
    return [replace(point, se=None) for point in points] if len(set(sizes)) < len(sizes) else list(points)


def _freedom(seeds: NDArray[np.int64]) -> int:
    return int((seeds - 1).sum())


def _errors(groups: Sequence[Sequence[Point]], values: Sequence[Array], seeds: NDArray[np.int64]) -> tuple[Array | None, Source | None]:
    """Return the standard error of each mean, and what supplies them."""
    freedom = _freedom(seeds)
    squares = np.array([((each - each.mean()) ** 2).sum() for each in values])
    of_seeds = math.sqrt(squares.sum() / freedom) / np.sqrt(seeds) if freedom else np.zeros(len(seeds))
    named = [[point.se for point in group if point.se is not None] for group in groups]
    of_points = np.array([math.sqrt(sum(se**2 for se in each) / len(each)) if each else 0.0 for each in named])
    if of_points.all() and not _differ(squares, of_points, freedom):
        return of_points, "points"
    errors = np.maximum(of_seeds, of_points)
    source: Source | None = "seeds" if freedom else "points" if errors.any() else None
    if not errors.any():
        return None, source
    # A size of which nothing is known is no better known than the worst of the others.
    known: Array = np.where(errors > 0, errors, errors.max())
    return known, source


def _differ(squares: Array, of_points: Array, freedom: int) -> bool:
    """Whether seeds differ by more than the errors that points name leave to chance: one repeated size alone hardly ever tells."""
    from scipy.stats import chi2

    return bool(freedom) and float((squares / of_points**2).sum()) > float(chi2.ppf(_AS_FAR_APART, freedom))
