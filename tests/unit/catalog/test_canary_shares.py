"""The shards of a canary: exactly its share over time, by the shard's number alone, one in each block."""

from __future__ import annotations

from collections import Counter

import pytest

from workers.catalog.service import LARGEST_SHARE
from workers.catalog.shard_models import Assigned, InService, shards_of

INCUMBENT, CANDIDATE = 1, 2


def assigned(share: int, shards: int) -> list[Assigned]:
    serving = InService(INCUMBENT, CANDIDATE, share, promotion=7)
    return [serving.of_shard(ordinal) for ordinal in range(shards)]


@pytest.mark.parametrize("share", range(1, LARGEST_SHARE + 1))
def test_of_the_first_n_shards_the_candidate_has_its_percent_rounded_down(share: int) -> None:
    taken = 0
    for number, shard in enumerate(assigned(share, 1000), 1):
        taken += shard.model_id == CANDIDATE
        assert taken == number * share // 100


@pytest.mark.parametrize("share", range(1, LARGEST_SHARE + 1))
def test_each_block_has_one_shard_of_the_candidate_and_at_least_one_of_the_model_in_service(share: int) -> None:
    shards = assigned(share, 1000)
    models: dict[int, Counter[int]] = {}
    for shard in shards:
        assert shard.canary is not None
        assert shard.canary.candidate == (shard.model_id == CANDIDATE)
        models.setdefault(shard.canary.block, Counter())[shard.model_id] += 1
    assert sorted(models) == list(range(1000 * share // 100))
    assert all(of_block[CANDIDATE] == 1 and of_block[INCUMBENT] >= 1 for of_block in models.values())


def test_without_a_canary_every_shard_is_of_the_model_in_service() -> None:
    assert {InService(INCUMBENT).of_shard(ordinal) for ordinal in range(100)} == {Assigned(INCUMBENT)}


@pytest.mark.parametrize("share", [1, 7, 10, 30, 33, 50])
def test_a_block_is_known_to_have_as_many_shards_as_are_counted_to_it(share: int) -> None:
    counted = Counter(part.canary.block for part in assigned(share, 1_000) if part.canary is not None)
    assert [counted[block] for block in range(10)] == [shards_of(block, share) for block in range(10)]
