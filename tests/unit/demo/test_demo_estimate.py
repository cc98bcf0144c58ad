"""How long the demo says that it will take: by what this machine computes, before the long part begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from producers import recipes
from producers.demo import estimate, story


def a_machine(rate: float, dtype: str = "float32") -> dict[str, object]:
    return {"dtype": dtype, "float32": rate, "bfloat16": 2 * rate, "slower": 0.5, "threads": 2}


def test_a_machine_like_the_one_that_was_timed_takes_as_long() -> None:
    assert estimate.seconds(a_machine(estimate.RATE)) == pytest.approx(estimate.SECONDS)


def test_a_machine_of_half_the_speed_takes_twice_as_long_and_the_sentence_says_so() -> None:
    slow = a_machine(estimate.RATE / 2)
    assert estimate.seconds(slow) == pytest.approx(2 * estimate.SECONDS)
    assert estimate.estimate_sentence(slow).startswith(f"About {2 * estimate.SECONDS / 60:.0f} minutes from here: ")


def test_where_bfloat16_is_faster_the_time_is_a_bound() -> None:
    assert estimate.estimate_sentence(a_machine(estimate.RATE, "bfloat16")).startswith("At most about ")


def test_this_machine_can_be_measured_without_loading_torch_here() -> None:
    assert 0 < estimate.seconds(estimate.measure_machine()) < 24 * 3600


def test_a_machine_with_a_gpu_is_not_judged_by_its_cpu() -> None:
    assert estimate.estimate_sentence(a_machine(estimate.RATE), gpus=2) == "A few minutes from here: this machine has 2 GPUs"


@pytest.mark.parametrize(("gpus", "there"), [(0, 2), (1, 1), (2, 2), (8, 2)])
def test_the_demo_has_as_many_ranks_and_workers_as_the_machine_has_room_for(gpus: int, there: int) -> None:
    assert story.at_once(gpus) == there


def test_a_step_of_the_demo_sees_as_many_examples_on_one_rank_as_on_two() -> None:
    recipe = Path(__file__).parents[3] / "recipes" / "demo-train.yaml"
    two, one = (recipes.read_training(recipe, story.training_overrides(ranks)) for ranks in (2, 1))
    assert (two.world_size, two.per_device_train_batch_size) == (story.RANKS, story.BATCH)
    assert one.world_size == 1
    assert one.global_batch == two.global_batch
