"""What more pairs cost: your time, a teacher's price, and a training as long as those of the curve foretell."""

from __future__ import annotations

from uuid import uuid4

import pytest

from producers.curve.costs import Costs, Pace, TrainingTime, pace
from schemas.states import JobState
from workers.catalog.curves import PointStatus
from workers.catalog.teacher_costs import TeacherCost


def trained(pairs: int, steps: int | None, seconds: float | None, nodes: int = 1, max_steps: int = -1) -> PointStatus:
    recipe = {"pairs": pairs, "nodes": nodes, "max_steps": max_steps}
    return PointStatus(recipe, uuid4(), JobState.DONE, seconds, steps, 1, None, {})


def test_a_training_s_time_goes_by_its_steps_and_these_by_the_pairs() -> None:
    time = TrainingTime.of([trained(pairs, steps=pairs // 4, seconds=20 + pairs // 4 * 3) for pairs in (40, 80, 160)])
    assert time is not None
    assert time.seconds(320) == pytest.approx(20 + 80 * 3)
    assert time.points == 3


def test_where_the_recipe_says_how_many_steps_the_next_training_makes_as_many() -> None:
    time = TrainingTime.of([trained(40, 30, 100.0, max_steps=30), trained(80, 30, 110.0, max_steps=30)])
    assert time is not None
    assert time.seconds(1000) == 105


@pytest.mark.parametrize("sizes", [(40, 40), (30, 50)])
def test_where_epochs_came_to_equally_many_steps_more_pairs_take_longer_all_the_same(sizes: tuple[int, int]) -> None:
    time = TrainingTime.of([trained(size, 10, 100.0) for size in sizes])
    assert time is not None
    assert time.seconds(80) == pytest.approx(200)


def test_time_never_falls_with_pairs_whatever_the_machine_did_beside_it() -> None:
    time = TrainingTime.of([trained(40, 10, 300.0), trained(80, 20, 100.0)])
    assert time is not None
    assert time.seconds(1000) >= time.seconds(80) > 0


def test_trainings_that_have_not_ended_tell_no_time() -> None:
    assert TrainingTime.of([trained(40, None, None)]) is None


def test_a_cost_has_its_three_parts_and_their_sources() -> None:
    costs = Costs(
        Pace(3.0, "given"), TeacherCost("big", usd=0.02, seconds=1.5, asked=80), TrainingTime(60.0, 0.5, 6, nodes=2), usd_per_hour=4.0
    )
    told = costs.of(100, gain=2.0, size=400)
    assert (told["hours"], told["gain_an_hour"]) == (5, pytest.approx(0.4))
    assert (told["minutes_from"], told["teacher"]["usd"], told["teacher"]["asked"]) == ("given", pytest.approx(2.0), 80)
    assert told["training"] == {"size": 500, "seconds": 310, "usd": pytest.approx(310 / 3600 * 4 * 2), "measured": 6}


def test_without_a_price_an_hour_a_training_has_seconds_alone() -> None:
    training = Costs(training=TrainingTime(60.0, 0.0, 1)).of(100, 1.0, 100)["training"]
    assert (training["seconds"], training["usd"]) == (60, None)


def test_minutes_that_somebody_says_count_and_else_they_are_a_guess() -> None:
    assert pace(5.0) == Pace(5.0, "given")
    assert pace(None) == Pace(2.0, "assumed")
