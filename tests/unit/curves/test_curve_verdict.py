"""Whether more pairs are worth it: continue, stop, or unsure and what would tell."""

from __future__ import annotations

import numpy as np
import pytest

from workers.curves.extrapolation import FEWEST_SIZES
from workers.curves.points import Curve, Point, grouped
from workers.curves.verdict import decide

SIZES = (25, 50, 100, 200, 400)


def a_curve(law: object, noise: float, seeds: int = 3, sizes: tuple[int, ...] = SIZES) -> Curve:
    chance = np.random.default_rng(0)
    return grouped([Point(size, law(size) + chance.normal(0, noise)) for size in sizes for _ in range(seeds)])  # type: ignore[operator]


def test_a_curve_that_goes_on_rising_is_continued() -> None:
    verdict = decide(a_curve(lambda size: 10 * np.log10(size), noise=0.1))
    assert verdict.answer == "continue"
    assert verdict.gain.low > 0
    assert verdict.gain.value > verdict.worth


def test_a_flat_curve_is_stopped() -> None:
    verdict = decide(a_curve(lambda _: 55.0, noise=0.1))
    assert verdict.answer == "stop"
    assert verdict.gain.high < verdict.worth


def test_a_loss_that_goes_on_falling_is_continued() -> None:
    assert decide(a_curve(lambda size: 4 - 0.5 * np.log10(size), noise=0.005), lower_is_better=True).answer == "continue"


def test_what_counts_is_the_user_s_to_say() -> None:
    curve = a_curve(lambda size: 10 * np.log10(size), noise=0.1)
    assert decide(curve, worth=20).answer == "stop"
    assert decide(curve, worth=20).worth == 20


def test_thirty_pairs_and_one_seed_leave_it_unsure() -> None:
    verdict = decide(a_curve(lambda size: 50 + size**0.2, noise=1, seeds=1, sizes=(4, 8, 15, 30)))
    assert verdict.answer == "unsure"


def test_one_seed_a_size_is_no_certainty_where_scores_say_how_far_they_may_be_off() -> None:
    rising = [(10, 50.0), (20, 52.0), (40, 54.0), (80, 56.0)]
    assert decide(grouped([Point(size, value) for size, value in rising])).answer == "continue"
    assert decide(grouped([Point(size, value, se=2.5) for size, value in rising])).answer == "unsure"


@pytest.mark.parametrize(
    ("sizes", "label", "wanted"),
    [
        ((200,), None, (25, 50, 100, 200)),
        ((50, 100, 200), None, (25, 50, 100, 200)),
        ((100, 150, 200), None, (50, 100, 150, 200)),
        ((10, 20, 30), None, (10, 15, 20, 30)),
        ((80,), None, (10, 20, 40, 80)),
        ((79,), 1, (20, 40, 79, 80)),
        ((30,), 50, (20, 30, 40, 80)),
        ((10, 20), 60, (10, 20, 40, 80)),
        ((4, 8, 15), 15, (4, 8, 15, 30)),
        ((5,), 35, (5, 10, 20, 40)),
        ((0.5, 1.0, 2.0), 2, (0.5, 1, 2, 4)),
    ],
)
def test_too_few_sizes_ask_for_subsets_of_the_pairs_that_there_are_and_for_more_only_where_these_are_too_few(
    sizes: tuple[float, ...], label: int | None, wanted: tuple[float, ...]
) -> None:
    verdict = decide(grouped([Point(size, 10 * np.log10(1 + size)) for size in sizes]))
    assert (verdict.answer, verdict.label, verdict.sizes) == ("unsure", label, wanted)
    assert len(wanted) == FEWEST_SIZES
    assert "too few" in verdict.reason


def test_where_noise_is_the_doubt_more_pairs_are_not_advised() -> None:
    curve = a_curve(lambda size: 3 * np.log10(size) + 40, noise=0.7, seeds=2, sizes=(50, 100, 200, 400))
    assert (decide(curve).answer, decide(curve).label) == ("unsure", None)


def test_what_counts_for_an_hour_counts_as_often_as_a_longer_curve_takes_hours() -> None:
    chance = np.random.default_rng(0)
    curve = grouped([Point(size, np.log2(size) + chance.normal(0, 0.2)) for size in (50, 100, 200, 400) for _ in range(2)])
    assert decide(curve, worth=1.3).label is None, "where 1.3 count for any doubling, more pairs would not tell"
    an_hour = decide(curve, worth=lambda pairs: 1.3 * pairs / 400)
    assert (an_hour.worth, an_hour.label) == (1.3, 400), "at 800 pairs the next doubling has to bring 2.6, which it surely does not"
