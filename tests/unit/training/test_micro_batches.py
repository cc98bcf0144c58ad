"""The micro-batch is halved until it fits, the global batch stays, and the next attempt begins with what fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.training import TrainingSpec
from workers.training.micro_batches import FILE, halved, remembered, train_within_memory
from workers.training.protocol.outcome import OutOfMemory


def a_spec(**changes: Any) -> TrainingSpec:
    return TrainingSpec(**{"name": "m", "base": "b", "dataset": "d", "world_size": 2, "per_device_train_batch_size": 32} | changes)


class Machine:
    """Trains as many examples at a time as it has room for."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[tuple[int, int]] = []
        self.log: list[str] = []

    def launch(self, spec: TrainingSpec) -> str:
        self.tried.append((spec.per_device_train_batch_size, spec.gradient_accumulation_steps))
        if spec.per_device_train_batch_size > self.room:
            raise OutOfMemory("out of memory", "the end of the log")
        return "trained"

    def train(self, spec: TrainingSpec, folder: Path) -> str:
        return train_within_memory(spec, folder, self.launch, self.log.append)


@pytest.mark.parametrize(("size", "accumulation", "smaller"), [(8, 1, (4, 2)), (6, 2, (3, 4)), (9, 1, (3, 3)), (5, 1, (1, 5))])
def test_smaller_micro_batches_keep_the_global_batch(size: int, accumulation: int, smaller: tuple[int, int]) -> None:
    spec = halved(a_spec(per_device_train_batch_size=size, gradient_accumulation_steps=accumulation))

    assert spec is not None
    assert (spec.per_device_train_batch_size, spec.gradient_accumulation_steps) == smaller
    assert spec.global_batch == 2 * size * accumulation


def test_one_example_at_a_time_is_the_smallest_micro_batch() -> None:
    assert halved(a_spec(per_device_train_batch_size=1)) is None


def test_they_are_halved_as_often_as_it_takes(tmp_path: Path) -> None:
    machine = Machine(room=1)

    assert machine.train(a_spec(), tmp_path) == "trained"
    assert machine.tried == [(32, 1), (16, 2), (8, 4), (4, 8), (2, 16), (1, 32)]
    assert machine.log[-1] == "out of memory with 2 examples a rank at a time: once more with 1, as many a step"


def test_the_next_attempt_begins_with_what_fitted(tmp_path: Path) -> None:
    Machine(room=4).train(a_spec(), tmp_path)
    later = Machine(room=4)

    later.train(a_spec(), tmp_path)

    assert later.tried == [(4, 8)]
    assert later.log == ["4 examples a rank at a time, which is what fitted into memory before"]


def test_what_fitted_another_recipe_or_can_not_be_read_is_left_alone(tmp_path: Path) -> None:
    Machine(room=4).train(a_spec(), tmp_path)
    other = a_spec(gradient_accumulation_steps=2)
    assert remembered(other, tmp_path) == other
    (tmp_path / FILE).write_text("{")
    assert remembered(a_spec(), tmp_path) == a_spec()


def test_what_does_not_fit_at_all_is_told_with_what_to_lower(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemory, match=r"one example a rank at a time: set gradient_checkpointing=true") as failed:
        Machine(room=0).train(a_spec(), tmp_path)
    assert failed.value.log_tail == "the end of the log"
