"""The divergence of two engines is Kullback-Leibler's, and of words that one does not tell it counts what they share."""

from __future__ import annotations

import numpy as np
import pytest

from workers.exports.engines.main import divergence_of

MINE = np.log(np.array([[0.5, 0.25, 0.125, 0.125]]))
THEIRS = np.log(np.array([[0.25, 0.5, 0.2, 0.05]]))


def test_it_is_the_sum_over_all_words_where_all_are_told() -> None:
    by_hand = 0.5 * np.log(2) + 0.25 * np.log(0.5) + 0.125 * np.log(0.125 / 0.2) + 0.125 * np.log(0.125 / 0.05)
    assert divergence_of(MINE, THEIRS)[0] == pytest.approx(by_hand)


def test_words_that_are_not_told_count_as_one() -> None:
    told = THEIRS.copy()
    told[0, 2:] = np.nan
    assert divergence_of(MINE, told)[0] == pytest.approx(0.5 * np.log(2) + 0.25 * np.log(0.5) + 0.25 * np.log(0.25 / 0.25))


def test_the_same_words_diverge_by_nothing_however_few_are_told() -> None:
    told = MINE.copy()
    told[0, 1:] = np.nan
    assert divergence_of(MINE, told)[0] == pytest.approx(0, abs=1e-12)


def test_a_word_that_cannot_come_costs_nothing() -> None:
    mine = np.array([[0.0, -np.inf]])
    assert divergence_of(mine, np.log(np.array([[0.75, 0.25]])))[0] == pytest.approx(np.log(1 / 0.75))
