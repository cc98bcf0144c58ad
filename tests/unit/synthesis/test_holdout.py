"""Whole clusters on one side, only human rows tested on, long tweets in proportion."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.errors import UserError
from workers.synthesis.split.holdout import Member, Split, fair_shares, hold_back, size_of_test

members = st.lists(st.builds(Member, st.integers(0, 12), st.booleans(), st.booleans()), max_size=60)


def split(rows: list[Member], test_size: Any, seed: int) -> list[Split]:
    held = hold_back(rows, sorted({row.cluster for row in rows}), test_size, seed)
    return ["test" if row.cluster in held else "train" for row in rows]


def singletons(count: int, long: int = 0) -> list[Member]:
    return [Member(number, human=True, long=number < long) for number in range(count)]


@given(members, st.integers(0, 20), st.integers(0, 5))
def test_no_cluster_straddles_and_the_test_never_outgrows_its_size(rows, test_size, seed):
    humans = sum(row.human for row in rows)
    sides = split(rows, min(test_size, humans), seed)
    for cluster in {row.cluster for row in rows}:
        assert len({side for row, side in zip(rows, sides, strict=True) if row.cluster == cluster}) == 1
    tested = [row for row, side in zip(rows, sides, strict=True) if side == "test"]
    assert sum(row.human for row in tested) <= test_size
    assert all(any(other.human for other in tested if other.cluster == row.cluster) for row in tested)


@given(st.integers(1, 80), st.data())
def test_singletons_fill_the_test_exactly(count, data):
    test_size = data.draw(st.integers(0, count))
    long = data.draw(st.integers(0, count))
    assert split(singletons(count, long), test_size, 0).count("test") == test_size


def test_long_tweets_get_their_share_of_the_test():
    rows = singletons(100, long=30)
    sides = split(rows, 20, 3)
    assert sum(row.long for row, side in zip(rows, sides, strict=True) if side == "test") == 6


def test_the_seed_decides_and_the_order_of_clusters_does_not():
    rows = singletons(50)
    assert split(rows, 10, 1) == split(rows, 10, 1) != split(rows, 10, 2)
    assert split(rows[::-1], 10, 1) == split(rows, 10, 1)[::-1]


def test_without_human_rows_nothing_is_held_back():
    assert split([Member(0, human=False), Member(1, human=False)], 5, 0) == ["train", "train"]


def test_a_synthetic_row_in_a_held_back_cluster_is_held_back_too():
    assert split([Member(0, human=True), Member(0, human=False), Member(1, human=False)], 1, 0) == ["test", "test", "train"]


def test_asking_for_more_than_there_is_says_how_many_there_are():
    with pytest.raises(UserError, match=r"11 .* only 10"):
        split(singletons(10), 11, 0)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(0, 100))
def test_a_limit_is_shared_evenly_and_none_of_it_is_lost(sizes, limit):
    shares = fair_shares(sizes, limit)
    assert sum(shares) == min(limit, sum(sizes))
    assert all(share <= size for share, size in zip(shares, sizes, strict=True))
    short = [share for share, size in zip(shares, sizes, strict=True) if share < size]
    assert not short or max(shares) - min(short) <= len(sizes)


@pytest.mark.parametrize(
    ("humans", "size"), [(0, 0), (1, 0), (2, 1), (30, 15), (59, 29), (60, 30), (145, 30), (150, 30), (400, 80), (1000, 200), (5000, 200)]
)
def test_an_automatic_test_is_a_fifth_between_bounds_and_leaves_half_to_learn_from(humans, size):
    assert size_of_test("auto", humans) == size
    assert split(singletons(humans), "auto", 0).count("test") == size


def test_a_number_stays_what_it_is():
    assert [size_of_test(number, 1000) for number in (0, 7, 500)] == [0, 7, 500]
