"""What the sources of all networks share: languages, pauses, and the way from an asynchronous stream to an iterator."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest

from producers.sources.live.languages import is_wanted
from producers.sources.live.pauses import Pauses
from producers.sources.live.stepping import stepped
from workers.ingest.live import Event


@pytest.mark.parametrize(
    ("said", "wanted", "passes"),
    [
        ("de", (), True),
        ("en", ("en",), True),
        ("en-GB", ("en",), True),
        ("EN_gb", ("en",), True),
        ("en", ("en-GB",), False),
        ("eng", ("en",), False),
        (["ja", "en"], ("en",), True),
        (["ja"], ("en", "ja"), True),
        (["ja", "de"], ("en",), False),
        (None, ("en",), True),
        ([], ("en",), True),
        ("und", ("en",), True),
        (["qme", 7], ("en",), True),
        ({"en": 1}, ("en",), True),
    ],
)
def test_a_tweet_passes_that_says_a_wanted_language_or_none(said, wanted, passes):
    assert is_wanted(said, wanted) is passes


def test_pauses_double_up_to_their_bound_and_each_is_shortened_by_half_at_most():
    pauses = Pauses(1.0, 10.0)
    for bound in (1.0, 2.0, 4.0, 8.0, 10.0, 10.0):
        assert bound / 2 <= pauses.next() <= bound
    pauses.tries = 10_000
    assert pauses.next() <= 10.0
    pauses.reset()
    assert pauses.next() <= 1.0


def test_two_clients_do_not_return_at_the_same_moment():
    assert len({Pauses(1.0, 10.0).next() for _ in range(50)}) > 10


def test_pauses_may_grow_by_steps():
    pauses = Pauses(0.0, 0.6, step=0.25)
    for bound in (0.0, 0.25, 0.5, 0.6):
        assert bound / 2 <= pauses.next() <= bound


def stream(*steps, ended=None):
    """Yields texts as cursors, sleeps for numbers, raises errors."""

    async def run():
        try:
            for step in steps:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield Event(step)
        finally:
            if ended is not None:
                ended.append(True)

    return run()


def cursors(events):
    return [event and event.cursor for event in events]


def test_events_come_in_order_and_end_with_their_stream():
    assert cursors(stepped(stream(*map(str, range(1_000))), 1.0)) == list(map(str, range(1_000)))
    assert cursors(stepped(stream(), 1.0)) == []


def test_none_comes_each_time_that_nothing_does():
    found = cursors(stepped(stream("a", 0.5, "b"), 0.02))
    assert [cursor for cursor in found if cursor] == ["a", "b"]
    assert found[found.index("a") + 1 : found.index("b")].count(None) > 2


def test_an_error_comes_behind_the_events_before_it():
    events = stepped(stream("a", "b", ValueError("why")), 1.0)
    assert [next(events).cursor, next(events).cursor] == ["a", "b"]
    with pytest.raises(ValueError, match="why"):
        next(events)


def test_closing_the_iterator_ends_the_stream_whatever_it_waits_for():
    ended: list[bool] = []
    events = stepped(stream("a", 60.0, ended=ended), 0.01)
    assert next(event for event in events if event is not None).cursor == "a"
    assert next(events) is None
    events.close()
    assert ended == [True]


def test_no_more_is_read_ahead_than_a_bounded_number():
    read: list[int] = []

    async def counted():
        for number in range(5_000):
            read.append(number)
            yield Event(str(number))

    events = stepped(counted(), 1.0)
    with closing(events):
        next(events)
        assert len(read) < 1_000
