"""Compares measures of two sets of texts, with intervals, and counts that many are compared at once."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
LEAST_EFFECT = 0.2
"""A small effect by J. Cohen (Statistical Power Analysis for the Behavioral Sciences, 1988): thousands of tweets show even less."""

FEWEST_INCOMING = 100
FEWEST_LEARNT = 30


@dataclass(frozen=True)
class Figure:
    """A measure of incoming tweets beside that of training texts.

    Attributes:
        name: of the measure.
        words: what it is.
        share: whether it is a share of texts, else it is a mean.
        value: of the incoming tweets.
        n: how many those are.
        baseline: of the training texts, or at the evaluation.
        baseline_n: how many those are.
        low: where the 95% interval of the difference, incoming minus baseline, begins.
        high: where it ends.
        p: by chance alone, such a difference or a larger one.
        adjusted_p: the same with all measures counted.
        effect: Cohen's d, for a share his h.
        drifted: whether it is neither chance nor too small to matter.
    """

    name: str
    words: str
    share: bool
    value: float
    n: int
    baseline: float
    baseline_n: int
    low: float
    high: float
    p: float
    effect: float
    adjusted_p: float = 1.0
    drifted: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def of_shares(name: str, words: str, count: int, n: int, baseline: int, baseline_n: int) -> Figure:
    """Compare two shares.

    The interval is Newcombe's (Interval estimation for the difference between independent proportions, Statistics in Medicine 17, 1998,
    method 10), the test is Fisher's exact one.
    """
    from scipy.stats import binomtest, fisher_exact

    ours, theirs = count / n, baseline / baseline_n
    own = binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    other = binomtest(baseline, baseline_n).proportion_ci(LEVEL, method="wilson")
    low = ours - theirs - math.hypot(ours - own.low, other.high - theirs)
    high = ours - theirs + math.hypot(own.high - ours, theirs - other.low)
    p = float(fisher_exact([[count, n - count], [baseline, baseline_n - baseline]]).pvalue)
    effect = 2 * math.asin(math.sqrt(ours)) - 2 * math.asin(math.sqrt(theirs))
    return Figure(name, words, True, ours, n, theirs, baseline_n, low, high, p, effect)


def of_means(name: str, words: str, values: NDArray[np.float64], baseline: NDArray[np.float64]) -> Figure:
    """Compare two means by Welch's test (The generalization of 'Student's' problem, Biometrika 34, 1947); arrays of shape (texts,)."""
    from scipy.stats import ttest_ind

    ours, theirs = float(values.mean()), float(baseline.mean())
    spread = math.sqrt((float(values.var(ddof=1)) + float(baseline.var(ddof=1))) / 2)
    if spread <= 1e-9 * max(abs(ours), abs(theirs)):
        same = ours == theirs
        effect = 0.0 if same else math.copysign(1e9, ours - theirs)
        return Figure(name, words, False, ours, len(values), theirs, len(baseline), ours - theirs, ours - theirs, float(same), effect)
    with warnings.catch_warnings():  # that one side hardly varies is no problem here: the other does
        warnings.simplefilter("ignore", RuntimeWarning)
        found = ttest_ind(values, baseline, equal_var=False)
    interval = found.confidence_interval(LEVEL)
    low, high, p = float(interval.low), float(interval.high), float(found.pvalue)
    return Figure(name, words, False, ours, len(values), theirs, len(baseline), low, high, p, (ours - theirs) / spread)


def judged(figures: Sequence[Figure]) -> list[Figure]:
    """Return the figures with all of them counted, by S. Holm (A simple sequentially rejective multiple test procedure, 1979).

    If nothing has drifted, the chance that any figure says so is at most 5%.
    """
    order = sorted(range(len(figures)), key=lambda place: figures[place].p)
    found = list(figures)
    largest = 0.0
    for rank, place in enumerate(order):
        figure = figures[place]
        largest = max(largest, min(1.0, (len(figures) - rank) * figure.p))
        drifted = largest < 1 - LEVEL and abs(figure.effect) >= LEAST_EFFECT
        found[place] = replace(figure, adjusted_p=largest, drifted=drifted)
    return found


def says(figure: Figure) -> str:
    """Return in words what a figure is now and what it was."""
    if figure.share:
        return f"{figure.words}: {figure.value:.1%}, it was {figure.baseline:.1%}"
    if figure.name == "unknown words":
        return f"{figure.words}: {figure.value:.1%} a text, it was {figure.baseline:.1%}"
    return f"{figure.words}: {figure.value:.1f} a text, it was {figure.baseline:.1f}"
