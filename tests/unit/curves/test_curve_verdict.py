"""Whether more pairs are worth it: continue, stop, or unsure and what would tell."""

from __future__ import annotations

import numpy as np

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


def test_too_few_sizes_say_how_many_pairs_the_missing_ones_take() -> None:
    verdict = decide(a_curve(lambda size: 10 * np.log10(size), noise=0.1, sizes=(50, 100, 200)))
    assert (verdict.answer, verdict.label) == ("unsure", 200)


def test_where_noise_is_the_doubt_more_pairs_are_not_advised() -> None:
    curve = a_curve(lambda size: 3 * np.log10(size) + 40, noise=0.7, seeds=2, sizes=(50, 100, 200, 400))
    assert (decide(curve).answer, decide(curve).label) == ("unsure", None)
