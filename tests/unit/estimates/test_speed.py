"""The rate of a training by a table: the arithmetic of large micro-batches, and on a GPU the launches of small ones."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.training import TrainingSpec
from workers.estimates.machine import ADAPTED_LAUNCH_SECONDS, PEAK_TFLOPS, USED_OF_PEAK, Device, tokens_per_second

H100 = Device(True, 80 * 2**30, 2, "NVIDIA H100 80GB HBM3")
LAYERS, PARAMETERS, TRAINED = 30, 139_399_488, 4_884_480


def rate(device: Device = H100, each: float | None = 65.0, **changes: Any) -> float | None:
    spec = TrainingSpec(**{"name": "m", "base": "b", "dataset": "d", "per_device_train_batch_size": 16, "max_length": 160} | changes)
    return tokens_per_second(device, spec, PARAMETERS, TRAINED, LAYERS, each)


def test_small_micro_batches_of_a_small_model_wait_for_their_launches() -> None:
    # Measured there: 2,455 to 2,743 tokens a second. By its arithmetic alone the card would make half a million.
    assert rate() == pytest.approx(16 * 65 / (30 * ADAPTED_LAUNCH_SECONDS))
    assert 2_455 < (rate() or 0) < 3_000


def test_large_micro_batches_are_as_fast_as_the_cards_arithmetic() -> None:
    operations = 4 * PARAMETERS + 2 * TRAINED
    assert rate(per_device_train_batch_size=8192) == pytest.approx(PEAK_TFLOPS["H100"] * 1e12 * USED_OF_PEAK / operations)


def test_examples_of_unknown_length_count_as_half_of_the_longest() -> None:
    assert rate(each=None) == rate(each=80.0)


def test_two_ranks_are_twice_as_fast() -> None:
    assert rate(world_size=2) == pytest.approx(2 * (rate() or 0))


def test_a_card_that_is_not_in_the_table_has_no_rate() -> None:
    assert rate(Device(True, 2**34, 2, "NVIDIA Unheard-of 9")) is None
