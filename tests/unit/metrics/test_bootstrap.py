"""Intervals cover what they should, the same seed gives the same interval, and pairs are compared row by row."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from workers.metrics import bootstrap
from workers.metrics.bootstrap import Figure, difference, interval

VALUES = np.random.default_rng(1).normal(50, 10, size=200)


def test_the_interval_of_a_normal_sample_is_that_of_theory() -> None:
    figure = interval(VALUES, resamples=4000, seed=0)
    error = VALUES.std() / np.sqrt(len(VALUES))
    assert figure.value == pytest.approx(VALUES.mean())
    assert figure.low == pytest.approx(VALUES.mean() - 1.96 * error, abs=0.15 * error)
    assert figure.high == pytest.approx(VALUES.mean() + 1.96 * error, abs=0.15 * error)
    assert figure.n == 200


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(7)
    figures = [interval(generator.normal(3, 1, size=60), resamples=400, seed=seed) for seed in range(300)]
    assert 0.90 <= np.mean([figure.low <= 3 <= figure.high for figure in figures]) <= 0.98


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    assert interval(VALUES, 500, seed=3) == interval(VALUES, 500, seed=3)
    assert interval(VALUES, 500, seed=3) != interval(VALUES, 500, seed=4)


def test_memory_bounds_do_not_change_how_many_resamples_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "CHUNK", 3 * len(VALUES))
    figure = interval(VALUES, resamples=500, seed=3)
    assert figure.low < figure.value < figure.high


def test_a_paired_difference_sees_what_two_intervals_hide() -> None:
    # Given one system that beats another by a little on every row, while rows differ much
    better = VALUES + np.random.default_rng(2).normal(1, 0.5, size=200)
    # Then the intervals of the two overlap, and that of the difference lies above 0
    assert interval(better).low < interval(VALUES).high
    assert difference(better, VALUES).low > 0
    assert difference(VALUES, VALUES) == Figure(0.0, 0.0, 0.0, 200)


SKEWED = np.random.default_rng(5).lognormal(0, 1.5, size=30)


def of_scipy(method: str) -> tuple[float, float]:
    result = scipy.stats.bootstrap((SKEWED,), np.mean, n_resamples=9999, method=method, rng=np.random.default_rng(8))
    return result.confidence_interval.low, result.confidence_interval.high


def test_an_interval_of_skewed_values_is_corrected_for_bias_and_skew() -> None:
    figure = interval(SKEWED, resamples=9999, seed=1)
    assert (figure.low, figure.high) == pytest.approx(of_scipy("BCa"), rel=0.03)
    assert figure.high > 1.1 * of_scipy("percentile")[1], "nothing was corrected, so that nothing is shown"


@pytest.mark.parametrize("values", [[7.0] * 50, [7.0], [0.0, 0.0]])
def test_equal_values_have_an_interval_without_width(values: list[float]) -> None:
    assert interval(values) == Figure(values[0], values[0], values[0], len(values))


def test_beyond_a_number_of_rows_an_interval_is_of_percentiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "BCA_ROWS", len(SKEWED) - 1)
    figure = interval(SKEWED, resamples=9999, seed=1)
    assert (figure.low, figure.high) == pytest.approx(of_scipy("percentile"), rel=0.03)


def test_a_figure_becomes_plain_json() -> None:
    assert Figure(1.5, 1.0, 2.0, 3).as_dict() == {"value": 1.5, "low": 1.0, "high": 2.0, "n": 3}


@pytest.mark.parametrize("values", [[], [[1.0]], [1.0, float("nan")]])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"value|finite"):
        interval(values)


def test_systems_of_different_rows_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same rows"):
        difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="resamples"):
        interval([1.0], resamples=0)


def test_a_ratio_is_that_of_the_sums_and_its_interval_that_of_theory() -> None:
    generator = np.random.default_rng(3)
    words = generator.integers(1, 20, size=400).astype(float)
    right = generator.binomial(words.astype(int), 0.6).astype(float)
    figure = bootstrap.ratio(right, words, resamples=4000)
    assert figure.value == pytest.approx(right.sum() / words.sum())
    assert figure.n == 400
    error = np.sqrt(0.6 * 0.4 / words.sum())
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_a_draw_without_denominator_is_left_out_of_a_ratio() -> None:
    figure = bootstrap.ratio([1.0, 0.0, 0.0], [2.0, 0.0, 0.0])
    assert (figure.value, figure.low, figure.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("below", "told"), [([0.0, 0.0], "nothing to take a share of"), ([1.0], "every row needs both")])
def test_a_ratio_without_denominators_is_refused(below: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        bootstrap.ratio([1.0, 2.0], below)
