"""What `evaluate` says in one sentence, and the curve that `model` draws."""

from __future__ import annotations

from typing import Any

import pytest

from producers.cli.evaluation import verdict
from producers.render.plots import curve


def result(tuned: tuple[float, float], lead: tuple[float, float], rules: tuple[float, float]) -> dict[str, Any]:
    intervals = {"tuned": tuned, "lead": lead, "rules": rules}
    return {system: {"sari": {"value": (low + high) / 2, "low": low, "high": high, "n": 9}} for system, (low, high) in intervals.items()}


@pytest.mark.parametrize(
    ("lead", "rules", "told"),
    [
        ((40, 45), (30, 35), "beats lead and rules: the intervals of their SARI do not touch"),
        ((40, 50), (30, 35), "is not proven better than lead, whose intervals touch its own, and beats rules"),
        ((45, 55), (56, 58), "is not proven better than lead and rules"),
        ((61, 65), (52, 58), "loses to lead, and is not proven better than rules"),
        ((61, 65), (62, 66), "loses to lead and rules"),
    ],
)
def test_only_intervals_that_do_not_touch_count(lead: tuple[float, float], rules: tuple[float, float], told: str) -> None:
    assert told in verdict(result((50, 60), lead, rules))


def test_a_cleaner_is_held_against_the_dictionary_and_leaving_all_as_it_is_by_err() -> None:
    figures = {"tuned": (0.3, 0.5), "most_frequent": (0.6, 0.7), "as_is": (0.0, 0.0)}
    table = {system: {"err": {"value": low, "low": low, "high": high, "n": 9}} for system, (low, high) in figures.items()}
    assert verdict(table) == "The tuned model loses to most_frequent, and beats as_is (ERR)."


def test_a_curve_spans_its_values_from_the_lowest_to_the_highest() -> None:
    assert curve([(1, 3.0), (2, 2.0), (3, 1.0)], height=2).splitlines() == ["3.000 ┤█▁", "1.000 ┤██▁", "       1 3"]


def test_many_steps_are_averaged_into_the_width() -> None:
    lines = curve([(step, float(step <= 500)) for step in range(1, 1001)], width=10, height=2).splitlines()

    assert [line.partition("┤")[2] for line in lines[:2]] == ["█████", "█████▁▁▁▁▁"]
    assert lines[-1].endswith("1000")


def test_a_flat_curve_and_a_single_point_can_be_drawn() -> None:
    assert curve([(1, 2.0)]).count("▁") == 1
    assert curve([(step, 2.0) for step in range(1, 6)]).count("▁") == 5


def test_no_points_are_no_curve() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        curve([])
