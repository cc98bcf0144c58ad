"""How long the demo says that it will take: by what this machine computes, before the long part begins."""

from __future__ import annotations

import pytest

from producers.demo import estimate


def a_machine(dtype: str, rate: float) -> dict[str, object]:
    return {"dtype": dtype, "float32": rate, "bfloat16": rate, "slower": 1.0, "threads": 2}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_machine_like_the_one_that_was_timed_takes_as_long(dtype: str) -> None:
    ran = estimate.RAN[dtype]
    assert estimate.seconds(a_machine(dtype, ran.rate)) == pytest.approx(ran.seconds)


def test_a_machine_of_half_the_speed_takes_twice_as_long_and_is_told_so() -> None:
    ran = estimate.RAN["float32"]
    slow = a_machine("float32", ran.rate / 2)
    assert estimate.seconds(slow) == pytest.approx(2 * ran.seconds)
    assert estimate.told(slow).startswith(f"About {2 * ran.seconds / 60:.0f} minutes from here: ")


def test_this_machine_can_be_measured_without_loading_torch_here() -> None:
    machine = estimate.measure()
    assert machine["dtype"] in estimate.RAN
    assert 0 < estimate.seconds(machine) < 24 * 3600
