"""Tests and bounds a mean while its values come in: valid however often one looks, and whenever one stops.

The test is the sequential t-test by a Gaussian mixture: H. Wang and A. Ramdas, Anytime-valid t-tests and confidence sequences for
Gaussian means with unknown variance, Sequential Analysis 44(1), 2025 (arXiv 2310.03722), which goes back to T. L. Lai, On confidence
sequences, Annals of Statistics 4(2), 1976. If the mean is 0, the chance that `evidence` ever reaches 1/α is at most α, by Ville's
inequality. `bounds` holds all means against which there is less evidence than that.

Values are taken for normal. What is given here are differences between means of many rows, for which that is nearly so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

_MIXTURE = 1.0
"""c² of the paper: a mean is expected to be about as large as the deviation of one value. It decides how quickly there is evidence."""
_LARGEST_EXPONENT = 700.0


def evidence(values: Sequence[float], least_variance: float = 0.0) -> float:
    """Return how much the values speak against a mean of 0: 1 says nothing, and chance alone ever reaches x in at most 1 of x runs.

    Args:
        values: in the order in which they came.
        least_variance: of one value, where it is known that it can't be less. Few values that are equal by chance prove nothing then.
    """
    count = len(values)
    if count < 2:
        return 1.0
    mean, spread = _mean_and_variance(values, least_variance)
    shrunk = _MIXTURE / (count + _MIXTURE)
    if spread == 0:
        return 1.0 if mean == 0 else _exp(-0.5 * (count - 1) * math.log(shrunk))
    t_squared = count * mean * mean / spread
    ratio = (1 + t_squared / (count - 1)) / (1 + t_squared * shrunk / (count - 1))
    return _exp(0.5 * math.log(shrunk) + 0.5 * count * math.log(ratio))


def bounds(values: Sequence[float], alpha: float, least_variance: float = 0.0) -> tuple[float, float]:
    """Return an interval that holds the mean at every look at once, with a chance of at least 1 - α.

    Few values bound nothing: then it is infinite. Arguments as of `evidence`.
    """
    count = len(values)
    if count < 2:
        return -math.inf, math.inf
    mean, spread = _mean_and_variance(values, least_variance)
    shrunk = _MIXTURE / (count + _MIXTURE)
    limit = math.exp(2 / count * (-math.log(alpha) - 0.5 * math.log(shrunk)))
    if limit * shrunk >= 1:
        return -math.inf, math.inf
    t_squared = (count - 1) * (limit - 1) / (1 - limit * shrunk)
    half = math.sqrt(t_squared * spread / count)
    return mean - half, mean + half


def evidence_of_share(hits: int, others: int, share: float) -> float:
    """Return how much it speaks against a chance of at most `share` that there were so many hits, as `evidence` does.

    It is the likelihood ratio of A. Wald (Sequential Tests of Statistical Hypotheses, Annals of Mathematical Statistics 16(2), 1945)
    against the chance half-way between `share` and 1.
    """
    expected = (1 + share) / 2
    return _exp(hits * math.log(expected / share) + others * math.log((1 - expected) / (1 - share)))


def _exp(exponent: float) -> float:
    """Return its exponential, or infinity where a float holds no more."""
    return math.exp(exponent) if exponent < _LARGEST_EXPONENT else math.inf


def _mean_and_variance(values: Sequence[float], least_variance: float) -> tuple[float, float]:
    mean = fmean(values)
    return mean, max(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1), least_variance)
