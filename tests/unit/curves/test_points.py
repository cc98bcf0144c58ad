"""Points become a curve: seeds of a size are averaged, and their spread becomes an error."""

from __future__ import annotations

import math

import pytest

from workers.curves.points import Point, grouped, of_shared_rows


def test_repeated_sizes_are_seeds_and_their_spread_is_pooled() -> None:
    curve = grouped([Point(50, 4.0), Point(25, 1.0), Point(25, 3.0), Point(50, 4.0)])
    assert curve.sizes.tolist() == [25, 50]
    assert curve.means.tolist() == [2, 4]
    assert curve.seeds.tolist() == [2, 2]
    assert curve.errors is not None
    assert curve.errors.tolist() == pytest.approx([1 / math.sqrt(2)] * 2), "two squares of 1 over two degrees of freedom, and two seeds"


def test_an_error_that_is_named_counts_where_seeds_say_less() -> None:
    curve = grouped([Point(25, 1.0, se=0.5), Point(50, 2.0, se=0.25), Point(100, 3.0)])
    assert curve.errors is not None
    assert curve.errors.tolist() == [0.5, 0.25, 0.5], "of the third nothing is known: no better than the worst"


def test_without_seeds_or_errors_nothing_is_known_of_the_noise() -> None:
    assert grouped([Point(25, 1.0), Point(50, 2.0)]).errors is None


@pytest.mark.parametrize("point", [(0, 1.0), (-1, 1.0), (math.inf, 1.0), (1, math.nan), (1, 1.0, -0.1)])
def test_what_is_no_point_is_refused(point: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Point(*point)


def test_no_points_are_no_curve() -> None:
    with pytest.raises(ValueError, match="no points"):
        grouped([])


def test_seeds_tell_more_of_points_on_the_same_rows_than_the_error_of_their_scores() -> None:
    with_seeds = of_shared_rows([Point(25, 1.0, se=2), Point(25, 1.2, se=2), Point(50, 2.0, se=2)])
    assert [point.se for point in with_seeds] == [None, None, None]
    without = [Point(25, 1.0, se=2), Point(50, 2.0, se=2)]
    assert of_shared_rows(without) == without


def test_few_seeds_take_student_s_quantile() -> None:
    assert grouped([Point(25, 1.0), Point(25, 2.0)]).quantile == pytest.approx(12.7, abs=0.1)
    assert grouped([Point(25, 1.0, se=1)]).quantile == 1.96


KNOWN = [Point(size, value, se=0.5) for size, value in [(25, 40.0), (50, 42.0), (100, 44.0), (200, 46.0)]]


def test_errors_that_all_points_name_are_known_though_a_size_is_repeated() -> None:
    curve = grouped([*KNOWN, Point(200, 47.0, se=0.5)])
    assert (curve.quantile, curve.errors_from, curve.freedom) == (1.96, "points", 0)
    assert curve.errors is not None
    assert curve.errors.tolist() == [0.5] * 4, "two seeds that differ as much by chance add nothing to what is known"
    assert grouped(KNOWN).errors_from == "points"


def test_seeds_that_differ_by_more_than_the_named_errors_tell_them() -> None:
    curve = grouped([*KNOWN, Point(200, 56.0, se=0.5)])
    assert curve.quantile == pytest.approx(12.7, abs=0.1)
    assert curve.errors_from == "seeds"
    assert curve.errors is not None
    assert curve.errors.max() > 5


def test_seeds_tell_the_errors_where_no_point_or_not_every_size_names_its_own() -> None:
    assert grouped([*KNOWN, Point(400, 47.0), Point(400, 48.0)]).errors_from == "seeds"
    assert grouped([Point(25, 1.0), Point(25, 2.0)]).errors_from == "seeds"
    assert grouped([Point(25, 1.0), Point(50, 2.0)]).errors_from is None
