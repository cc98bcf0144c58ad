"""How far a worker's clock is from a server's: measured through lines that are slow one way or both."""

from __future__ import annotations

import pytest

from workers.readiness.clock_skew import CLOCK_TOLERANCE, clock_ahead, clock_of


class World:
    """A server's clock and ours, `ahead` seconds before it; a question takes `there` seconds on its way, and `back` as long to return."""

    def __init__(self, ahead: float, there: float, back: float) -> None:
        self.now = 1_000_000.0
        self.ahead, self.there, self.back = ahead, there, back

    def clock(self) -> float:
        return self.now + self.ahead

    def ask(self) -> float:
        self.now += self.there
        answer = self.now
        self.now += self.back
        return answer


@pytest.mark.parametrize("ahead", [0.0, 2.0, -2.0, 7200.0, -7200.0])
def test_a_shift_is_measured_and_a_quick_line_hides_nothing_of_it(ahead: float):
    world = World(ahead, there=0.001, back=0.001)
    assert clock_ahead(world.ask, world.clock) == pytest.approx(ahead, abs=0.002)


@pytest.mark.parametrize(("there", "back"), [(3.0, 0.0), (0.0, 3.0), (1.5, 1.5)])
def test_a_slow_line_is_not_taken_for_a_wrong_clock(there: float, back: float):
    world = World(0.0, there, back)
    assert abs(clock_ahead(world.ask, world.clock)) <= CLOCK_TOLERANCE


def test_a_wrong_clock_is_seen_through_a_slow_line():
    world = World(7200.0, there=2.0, back=0.0)
    assert clock_of("Redis", clock_ahead(world.ask, world.clock)) is not None


def test_the_quickest_of_three_answers_counts():
    world = World(2.0, there=0.0, back=0.0)
    delays = iter([4.0, 0.01, 4.0])

    def ask() -> float:
        world.there = next(delays)
        return world.ask()

    assert clock_ahead(ask, world.clock) == pytest.approx(2.0, abs=0.02)
