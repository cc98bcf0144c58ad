"""What is said of a curve before it starts."""

from __future__ import annotations

from typing import Any

import pytest

from producers.curve.report import _plan_words, _to_do


def plan(**changes: Any) -> dict[str, Any]:
    return {"points": 9, "examples": 480, "seconds": None, "usd": None, "fewest_steps": 30} | changes


def test_time_and_price_are_said_where_a_training_was_timed() -> None:
    assert "about 2 m 0 s on one worker at the rate of the last training, 0.07 USD" in _plan_words(plan(seconds=120, usd=0.07))
    assert "not known before the first one" in _plan_words(plan())


@pytest.mark.parametrize(("steps", "warned"), [(2, True), (30, False)])
def test_points_of_hardly_any_steps_are_warned_of(steps: int, warned: bool) -> None:
    assert ("teach next to nothing" in _plan_words(plan(fewest_steps=steps))) is warned


def test_whoever_has_imports_alone_is_told_how_to_make_pairs_of_them() -> None:
    assert "`tweetmill synthesize` with pairs=FILE" in _to_do(0)
    assert _to_do(12) == "give --sizes up to that"
