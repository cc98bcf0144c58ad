"""When a shard of a stream is due: by its tweets, its tokens, or the age of the oldest, as long as there is room."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workers.streams.micro_batches import Limits, Waiting, is_due

LIMITS = Limits(batch=100, max_tokens=5_000, max_age=5.0, in_flight=4)
WAITING = Waiting(tweets=10, tokens=300, age=1.0, backlog=10, unfinished=0)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, False),
        ({"tweets": 99}, False),
        ({"tweets": 100}, True),
        ({"tokens": 4_999}, False),
        ({"tokens": 5_000}, True),
        ({"age": 4.99}, False),
        ({"age": 5.0}, True),
        ({"tweets": 100, "unfinished": 3}, True),
        ({"tweets": 100, "unfinished": 4}, False),
        ({"age": 60.0, "unfinished": 4}, False),
        ({"tweets": 0, "tokens": 0, "age": 60.0}, False),
    ],
)
def test_a_shard_is_due_when_it_is_full_or_old_and_there_is_room(changed: dict[str, float], expected: bool):
    assert is_due(replace(WAITING, **changed), LIMITS) is expected  # type: ignore[arg-type]


def test_without_an_age_a_tweet_waits_for_no_others():
    assert is_due(replace(WAITING, tweets=1, age=0.0), replace(LIMITS, max_age=0.0))
