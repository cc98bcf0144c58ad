"""How far models are above a baseline on the same rows: the rows' error is common to them, that of seeds is added."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workers.curves.differences import Interval, mean_difference, unpaired


def test_one_model_keeps_its_own_interval() -> None:
    assert mean_difference([Interval(1.0, -0.5, 3.0)]) == Interval(1.0, -0.5, 3.0)


def test_more_models_on_the_same_rows_do_not_shrink_what_the_rows_leave_open() -> None:
    found = mean_difference([Interval(1.0, 0.0, 3.0), Interval(3.0, 0.0, 5.0)])
    assert (found.value, found.low, found.high) == (2, 0, 4)


def test_what_seeds_leave_open_is_added_in_squares() -> None:
    found = mean_difference([Interval(1.0, -2.0, 4.0)], between_models=4.0)
    assert (found.low, found.high) == (1 - 5, 1 + 5)


def test_without_pairing_the_errors_of_both_figures_count() -> None:
    found = unpaired(Interval(5.0, 4.0, 6.0), Interval(3.0, 1.0, 4.0))
    assert found.value == 2
    assert (2 - found.low, found.high - 2) == pytest.approx((math.sqrt(2), math.sqrt(5)))


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="no differences"):
        mean_difference([])


def test_of_simulated_models_19_of_20_intervals_hold_the_true_difference() -> None:
    """Three models a trial on 100 common rows: each is above the baseline by 1 on average, and by another 0.3 either way itself."""
    chance = np.random.default_rng(0)
    held = []
    for _ in range(400):
        rows, own = chance.normal(0, 5, 100), chance.normal(0, 0.3, 3)
        scores = [1 + more + rows + chance.normal(0, 2, 100) for more in own]
        halves = [1.96 * each.std(ddof=1) / 10 for each in scores]
        found = mean_difference(
            [Interval(each.mean(), each.mean() - half, each.mean() + half) for each, half in zip(scores, halves, strict=True)],
            between_models=4.3 * np.std([each.mean() for each in scores], ddof=1) / math.sqrt(3),
        )
        held.append(found.low <= 1 <= found.high)
    assert 0.93 <= np.mean(held) <= 0.995
