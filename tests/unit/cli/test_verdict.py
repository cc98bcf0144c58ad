"""What `evaluate` says in one sentence, and the curve that `model` draws."""

from __future__ import annotations

from typing import Any

import pytest

from producers.cli.evaluation import verdict
from producers.render.plots import curve


def result(metric: str, **margins: tuple[float, float, float]) -> dict[str, Any]:
    """What the verdict reads: of each other system the paired interval of the model's margin, and the lower end with all pairs counted."""
    figures = {
        other: {metric: {"value": (low + high) / 2, "low": low, "high": high, "all_low": all_low, "all_high": high + 1, "n": 9}}
        for other, (low, high, all_low) in margins.items()
    }
    figure = {metric: {"value": 50.0, "low": 45.0, "high": 55.0, "n": 9}}
    return dict.fromkeys(("tuned", *margins), figure) | {"margins": figures}


ABOVE, OPEN, BELOW = (1.0, 3.0, 0.5), (-1.0, 3.0, -2.0), (-3.0, -1.0, -4.0)
BY_CHANCE = (1.0, 3.0, -0.5)


@pytest.mark.parametrize(
    ("margins", "told"),
    [
        ({"lead": ABOVE, "rules": ABOVE}, "The tuned model beats lead and rules (SARI, paired on the same rows)."),
        ({"lead": OPEN, "rules": ABOVE}, "is not proven better than lead, and beats rules (SARI"),
        ({"lead": OPEN, "rules": OPEN}, "is not proven better than lead and rules (SARI"),
        ({"lead": BELOW, "rules": OPEN}, "loses to lead, and is not proven better than rules (SARI"),
        ({"lead": BELOW, "rules": BELOW}, "loses to lead and rules (SARI"),
        ({"lead": ABOVE, "rules": ABOVE, "few_shot": OPEN}, "is not proven better than few_shot, and beats lead and rules (SARI"),
        (
            {"lead": ABOVE, "rules": ABOVE, "zero_shot": ABOVE, "zero_shot_guarded": OPEN, "few_shot": BELOW, "few_shot_guarded": ABOVE},
            "is not proven better than zero_shot_guarded, and beats lead, rules and few_shot_guarded (SARI",
        ),
        (
            {"lead": BY_CHANCE, "rules": ABOVE, "as_is": ABOVE},
            "beats lead and rules (SARI, paired on the same rows). Of 3 comparisons, the one with lead may look so by chance.",
        ),
    ],
)
def test_the_model_is_held_against_what_needs_no_tuning_by_paired_intervals(
    margins: dict[str, tuple[float, float, float]], told: str
) -> None:
    assert told in verdict(result("sari", **margins))


def test_a_cleaner_is_held_against_the_dictionary_and_leaving_all_as_it_is_by_err() -> None:
    told = verdict(result("err", most_frequent=BELOW, as_is=ABOVE, dictionary=OPEN))
    assert told == "The tuned model loses to most_frequent, and beats as_is (ERR, paired on the same rows)."


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
