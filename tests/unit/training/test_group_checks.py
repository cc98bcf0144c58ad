"""A run that silently trains N copies is refused before its first step."""

from __future__ import annotations

import pytest

from workers.errors import UserError
from workers.training.rank.examples.plan import BatchPlan, micro_batches
from workers.training.rank.group_checks import WrongProcessGroup, check_group, check_slices, visits_fingerprint

PLAN = BatchPlan([9] * 64, steps=8, global_batch=8, seed=0)


def mark_of(rank: int, world_size: int = 2) -> int:
    return visits_fingerprint(micro_batches(batch, rank, world_size, 1)[0] for batch in PLAN)


def test_ranks_with_slices_of_their_own_may_train() -> None:
    check_slices([mark_of(0), mark_of(1)])


def test_ranks_with_equal_data_are_refused_by_name() -> None:
    with pytest.raises(WrongProcessGroup, match="ranks 0 and 2 hold the same data"):
        check_slices([mark_of(0, 3), mark_of(1, 3), mark_of(0, 3)])


def test_two_visits_of_one_example_are_not_the_same_data() -> None:
    tiny = BatchPlan([9], steps=2, global_batch=4, seed=0)

    check_slices([visits_fingerprint(micro_batches(batch, rank, 2, 1)[0] for batch in tiny) for rank in range(2)])


def test_a_fingerprint_fits_a_signed_64_bit_tensor() -> None:
    assert 0 <= mark_of(0) < 2**63


@pytest.mark.parametrize(("asked", "started", "joined"), [(2, 2, 1), (4, 2, 2), (2, 1, 1)])
def test_a_group_of_another_size_is_refused(asked: int, started: int, joined: int) -> None:
    with pytest.raises(WrongProcessGroup, match="train a copy"):
        check_group(asked=asked, started=started, joined=joined, distributed_type="DEEPSPEED")


def test_another_trainer_than_deepspeed_is_refused() -> None:
    with pytest.raises(UserError, match="MULTI_CPU"):
        check_group(asked=2, started=2, joined=2, distributed_type="MULTI_CPU")


def test_the_group_that_was_asked_for_may_train() -> None:
    check_group(asked=2, started=2, joined=2, distributed_type="DEEPSPEED")
