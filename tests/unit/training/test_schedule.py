"""The learning rate rises over the warm-up and then follows its schedule."""

from __future__ import annotations

import pytest

from workers.training.rank.schedule import Schedule, learning_rate, steps_of


def rates(kind: Schedule, total: int = 100, warmup: float = 0.1) -> list[float]:
    return [learning_rate(step, total, 1.0, warmup, kind) for step in range(total)]


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant"])
def test_the_warm_up_rises_to_the_peak(kind: Schedule) -> None:
    assert rates(kind)[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert max(rates(kind)) == 1.0


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_the_rate_falls_towards_zero_but_never_wastes_a_step(kind: Schedule) -> None:
    after = rates(kind)[10:]

    assert after == sorted(after, reverse=True)
    assert 0 < after[-1] < 0.05


def test_the_cosine_is_half_way_down_in_the_middle() -> None:
    assert learning_rate(55, 100, 1.0, 0.1, "cosine") == pytest.approx(0.5)


def test_without_warm_up_the_first_step_has_the_full_rate() -> None:
    assert learning_rate(0, 10, 3e-4, 0.0, "cosine") == 3e-4


@pytest.mark.parametrize(
    ("examples", "epochs", "batch", "max_steps", "steps"),
    [(100, 2, 16, -1, 13), (3, 1, 16, -1, 1), (100, 2, 16, 5, 5), (64, 0.5, 16, -1, 2)],
)
def test_steps_come_from_the_epochs_unless_they_are_given(examples: int, epochs: float, batch: int, max_steps: int, steps: int) -> None:
    assert steps_of(examples, epochs, batch, max_steps) == steps
