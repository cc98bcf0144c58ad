"""What a learning curve foretells: known laws are found again, intervals hold what they say, and too little is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from workers.curves.extrapolation import extrapolate, next_sizes
from workers.curves.families import FAMILIES, POWER, RECTIFIED, predict
from workers.curves.points import Curve, Point, grouped

SIZES = [25.0, 50.0, 100.0, 200.0, 400.0]
Law = Callable[[float], float]


def power(size: float) -> float:
    return 60 - 40 * size**-0.3


def a_curve(law: Law, sizes: list[float] = SIZES) -> Curve:
    return grouped([Point(size, law(size)) for size in sizes])


@pytest.mark.parametrize(
    ("family", "law"),
    [
        (POWER, lambda size: 1.5 + 4 * size**-0.35),
        (POWER, lambda size: 2 + 30 * size**-1.2),
        (RECTIFIED, lambda size: 1.2 + 9 / (12 + size**0.6)),
    ],
)
def test_a_law_is_found_again_where_nothing_is_noisy(family: object, law: Law) -> None:
    assert family in FAMILIES
    sizes, places = np.array([*SIZES, 800.0]), np.array([1600.0, 6400.0])
    found = predict(family, sizes, np.array([[law(size) for size in sizes]]), np.ones(6), places)  # type: ignore[arg-type]
    gained = law(SIZES[0]) - law(6400)
    assert found[0] == pytest.approx([law(size) for size in places], abs=0.02 * gained)


def test_a_curve_foretells_its_own_law() -> None:
    foretold = extrapolate(a_curve(power), [800, 1600])
    assert foretold.family == POWER.name
    for each in foretold.predictions:
        assert each.low < power(each.size) < each.high
        assert each.value == pytest.approx(power(each.size), abs=0.3)
        assert each.refused is None


def test_of_simulated_curves_19_of_20_end_inside_the_interval() -> None:
    chance = np.random.default_rng(1)
    held = []
    for number in range(200):
        law = a_law(chance, rectified=number % 2 == 1)
        noise = 5 * chance.choice([0.02, 0.05, 0.1, 0.2])
        curve = grouped([Point(size, law(size) + chance.normal(0, noise)) for size in SIZES for _ in range(3)])
        foretold = extrapolate(curve, [800, 1600], draws=200, seed=number)
        values = [each.low <= law(each.size) <= each.high for each in foretold.predictions]
        gains = [each.low <= law(each.size) - law(400) <= each.high for each in foretold.gains]
        held.append(values + gains)
    assert (np.mean(held, axis=0) >= 0.9).all()
    assert (np.mean(held, axis=0) <= 0.98).all(), "an interval that holds everything says nothing"


def test_of_curves_with_one_seed_at_least_19_of_20_end_inside_where_each_score_tells_its_error() -> None:
    """Scores on 300 common rows err together, and each a little by itself; what they say of their own error holds both."""
    chance = np.random.default_rng(2)
    held, widths = [], []
    for number in range(150):
        law = a_law(chance, rectified=number % 2 == 1)
        common, own = chance.normal(0, 1.2), chance.choice([0.1, 0.25, 0.5])
        curve = grouped([Point(size, law(size) + common + chance.normal(0, own), se=float(np.hypot(1.2, own))) for size in SIZES])
        (gain,) = extrapolate(curve, [800], draws=200, seed=number).gains
        held.append(gain.low <= law(800) - law(400) <= gain.high)
        widths.append(gain.high - gain.low)
    assert np.mean(held) >= 0.95
    assert np.median(widths) < 6, "cautious, and still narrower than what 25 to 400 pairs brought either way"


def a_law(chance: np.random.Generator, *, rectified: bool) -> Law:
    """A figure that rises by 5 from 25 to 400 pairs."""
    exponent, known = chance.uniform(0.1, 0.8), chance.uniform(2, 30)

    def shape(size: float) -> float:
        return float(1 / (known + size**exponent) if rectified else size**-exponent)

    return lambda size: 60 - 5 * shape(size) / (shape(25) - shape(400))


def test_a_loss_is_the_mirror_image_of_a_score() -> None:
    score = extrapolate(a_curve(power), [800])
    loss = extrapolate(a_curve(lambda size: -power(size)), [800], lower_is_better=True)
    assert loss.predictions[0].value == pytest.approx(-score.predictions[0].value)
    assert loss.predictions[0].low == pytest.approx(-score.predictions[0].high)
    assert loss.gains == score.gains


def test_scale_and_unit_of_size_change_nothing() -> None:
    plain = extrapolate(a_curve(power), [800]).predictions[0]
    other = extrapolate(grouped([Point(1000 * size, 10 * power(size)) for size in SIZES]), [800_000]).predictions[0]
    assert (other.value, other.low, other.high) == pytest.approx((10 * plain.value, 10 * plain.low, 10 * plain.high))


def test_a_law_that_foretold_the_last_sizes_badly_weighs_little() -> None:
    bent = extrapolate(a_curve(lambda size: 1 / (1 + (size / 300) ** -3)), [800])
    assert bent.weights["last value"] < 0.34
    assert sum(bent.weights.values()) == pytest.approx(1, abs=1e-3)


def test_three_sizes_are_refused() -> None:
    foretold = extrapolate(a_curve(power, SIZES[:3]), [200])
    assert foretold.predictions[0].refused == "3 sizes are too few: at least 4 are needed"
    assert foretold.gains[0].refused == foretold.predictions[0].refused


def test_noise_beyond_what_data_brought_is_refused() -> None:
    values = [50.0, 49.0, 53.0, 48.0]
    foretold = extrapolate(grouped([Point(size, value, se=3) for size, value in zip(SIZES[:4], values, strict=True)]), [400])
    assert foretold.predictions[0].refused is not None


def test_one_size_alone_is_no_curve_and_is_refused_rather_than_fitted() -> None:
    foretold = extrapolate(grouped([Point(100, 50.0), Point(100, 51.0)]), [200])
    assert foretold.predictions[0].value == pytest.approx(50.5)
    assert foretold.predictions[0].refused == "1 sizes are too few: at least 4 are needed"


def test_more_than_four_times_the_largest_size_is_refused() -> None:
    four_times, beyond = extrapolate(a_curve(power), [1600, 1601]).predictions
    assert (four_times.refused, beyond.refused) == (None, "it is more than 4 times the largest size")


def test_a_size_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        extrapolate(a_curve(power), [0])


def test_the_next_sizes_are_twice_and_four_times_the_largest() -> None:
    assert next_sizes(a_curve(power)) == (800, 1600)
