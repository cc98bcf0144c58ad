"""The laws that are fitted to a learning curve. All are of a figure that falls with size, as a loss does.

Each law is a constant plus one amplitude times a shape, so for a given shape the best constant and amplitude are known in closed form
(variable projection: Golub and Pereyra, SIAM Journal on Numerical Analysis 10, 1973). What is left is a search over one or two exponents:
the nodes of a grid, for all draws of a bootstrap at once, and for a single curve `scipy.optimize` from the best of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Family:
    """A law `constant + amplitude * shape(size)`, amplitude 0 or more.

    Attributes:
        shape: of sizes that are relative to the curve's geometric mean, and the exponents.
        starts: combinations of exponents, shape (starts, exponents).
        needs: distinct sizes, as many as parameters.
    """

    name: str
    shape: Callable[[Array, Array], Array]
    starts: Array
    needs: int


def _power(sizes: Array, exponents: Array) -> Array:
    return sizes[None, :] ** -exponents[:, 0, None]


def _rectified(sizes: Array, exponents: Array) -> Array:
    return 1 / (exponents[:, 1, None] + sizes[None, :] ** exponents[:, 0, None])


def _constant(sizes: Array, exponents: Array) -> Array:
    return np.zeros((len(exponents), len(sizes)))


_EXPONENTS = np.geomspace(0.02, 3, 40)
_PRE_LEARNT = np.geomspace(0.05, 100, 14)

POWER = Family("power law", _power, _EXPONENTS[:, None], 3)
"""E + A * size^-b, chosen of six by Kolachina et al. for BLEU (Prediction of Learning Curves in Machine Translation, ACL 2012)."""

RECTIFIED = Family("rectified law", _rectified, np.array(list(product(np.geomspace(0.1, 3, 20), _PRE_LEARNT))), 4)
"""B / (D + size^b) + E with the pre-learnt data size D, for fine-tuning, whose gain is slow at first (Lin et al., Selecting Large Language
Model to Fine-tune via Rectified Scaling Law, ICML 2024, arXiv 2402.02314)."""

LAST = Family("last value", _constant, np.zeros((1, 1)), 1)
"""The value at the largest size, for ever: hard to beat where points are few (Mohr et al., LCDB 1.0, ECML-PKDD 2022)."""

FAMILIES = (POWER, RECTIFIED, LAST)


def predict(family: Family, sizes: Array, means: Array, weights: Array, at: Array) -> Array:
    """Return what the law that fits best says at other sizes.

    Args:
        family: the law.
        sizes: shape (sizes,).
        means: of one or more draws, shape (draws, sizes).
        weights: of the sizes, 1 / se^2, shape (sizes,).
        at: shape (places,).

    Returns:
        Shape (draws, places).
    """
    if family is LAST:
        return np.repeat(means[:, -1:], len(at), axis=1)
    scale, weights = np.exp(np.log(sizes).mean()), weights / weights.sum()
    exponents = family.starts
    if len(means) == 1:
        exponents = _refined(family, sizes / scale, means, weights)
    constant, amplitude, errors = _solve(family.shape(sizes / scale, exponents), means, weights)
    best, draws = errors.argmin(1), np.arange(len(means))
    there = family.shape(at / scale, exponents)[best]
    values: Array = constant[draws, best][:, None] + amplitude[draws, best][:, None] * there
    return values


def _refined(family: Family, sizes: Array, means: Array, weights: Array) -> Array:
    """Return the exponents that fit one curve best, shape (1, exponents), within the range of the grid."""
    from scipy.optimize import minimize

    starts = np.log(family.starts)
    errors = _solve(family.shape(sizes, family.starts), means, weights)[2][0]

    def error(logs: Array) -> float:
        return float(_solve(family.shape(sizes, np.exp(logs)[None]), means, weights)[2][0, 0])

    bounds = list(zip(starts.min(axis=0), starts.max(axis=0), strict=True))
    best = starts[errors.argmin()]
    # The scale of the errors may be anything: only that of the exponents is known.
    found = minimize(error, best, method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-4, "fatol": 0.0, "maxiter": 400})
    exponents: Array = np.exp(found.x if found.fun < errors.min() else best)[None]
    return exponents


def _solve(shapes: Array, means: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Return constant, amplitude and weighted mean squared error of each draw with each shape, (draws, starts) each."""
    of_shapes, of_means = shapes @ weights, means @ weights
    shapes, means = shapes - of_shapes[:, None], means - of_means[:, None]
    variance, common = (shapes**2) @ weights, (means * weights) @ shapes.T
    amplitude = np.maximum(common / np.maximum(variance, 1e-300), 0)
    errors = ((means**2) @ weights)[:, None] - 2 * amplitude * common + amplitude**2 * variance
    return of_means[:, None] - amplitude * of_shapes, amplitude, np.maximum(errors, 0)
