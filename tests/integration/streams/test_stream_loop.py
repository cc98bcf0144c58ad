"""The loop of a stream: it stores what comes, makes shards, holds back a source that can wait, and ends with nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine

from producers.streaming.loop import Plan, StreamLoop
from schemas.records import TweetRecord
from tests.integration.in_process import work_off
from tests.support import jobs
from tests.support.streams import Scripted, arrivals, begin, echoing, rows, shards, tweet
from workers.database import transaction
from workers.ingest.live import Event
from workers.ingest.readers.errors import SourceError
from workers.jobs import fanout
from workers.streams.holding import Held, StreamLost
from workers.streams.micro_batches import Limits, StreamCancelled

PLAN = Plan(Limits(batch=3, max_tokens=10_000, max_age=0.0, in_flight=100), spool=1_000, guard=True)


@pytest.fixture
def engine(clean_database: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    return echoing(clean_database, monkeypatch)


class Stop:
    """Whether the loop was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self) -> None:
        self.asked = True

    def __call__(self) -> bool:
        return self.asked


def loop(
    source: Scripted,
    held: Held,
    plan: Plan = PLAN,
    stop: Callable[[], bool] = lambda: False,
    show: Callable[[], None] = lambda: None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> StreamLoop:
    return StreamLoop(source, held, plan, stopping=stop, show=show, on_event=on_event)


def stream(engine: Engine) -> tuple[object, ...]:
    return rows(engine, "SELECT state, cursor, owner, error FROM stream WHERE name = 'club'")[0]


def test_all_that_a_source_says_gets_a_shard_and_the_parent_closes(engine: Engine):
    held = begin()
    assert held.job is not None
    assert loop(Scripted([tweet(str(number)) for number in range(7)]), held).run() == "ended"
    assert stream(engine) == ("ended", "6", None, None)
    assert [tweets for _, _, tweets in shards(engine)] == [3, 3, 1]
    work_off(engine)
    assert jobs.state(engine, held.job) == "done"
    assert rows(engine, "SELECT count(*), count(DISTINCT tweet) FROM summary") == [(7, 7)]


def test_a_batch_that_is_old_enough_does_not_wait_for_the_next_event(engine: Engine):
    made: list[int] = []
    source = Scripted([tweet("a"), None, lambda: made.append(len(shards(engine)) or len(arrivals(engine))), None, tweet("b")])
    quick = replace(PLAN, limits=replace(PLAN.limits, batch=100))
    loop(source, begin(), quick, show=lambda: made.append(len(shards(engine)))).run()
    assert made[0] == 1


def test_when_asked_to_stop_it_stores_what_was_read_and_makes_a_shard_of_it(engine: Engine):
    stop = Stop()
    patient = replace(PLAN, limits=replace(PLAN.limits, batch=100, max_age=1_000.0))
    source = Scripted([tweet("a"), tweet("b"), stop.ask, tweet("c"), tweet("never read")])
    assert loop(source, begin(), patient, stop).run() == "stopped"
    assert stream(engine) == ("stopped", "c", None, None)
    assert shards(engine) == [(1, 3, 3)]


def test_it_goes_on_behind_the_cursor(engine: Engine):
    script = [tweet("a"), tweet("b"), tweet("c"), tweet("d")]
    stop = Stop()
    loop(Scripted([*script[:2], stop.ask, *script[2:]]), begin(), stop=stop).run()
    source = Scripted(script)
    loop(source, begin()).run()
    assert source.asked == ["c"]
    assert arrivals(engine) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    assert sum(tweets for _, _, tweets in shards(engine)) == 4


def test_a_source_that_can_wait_is_not_read_past_the_spool(engine: Engine):
    stop = Stop()
    source = Scripted([tweet(str(number)) for number in range(100_000)])
    seen: list[int] = []

    def show() -> None:
        seen.append(source.yielded)
        if len(seen) > 4 and seen[-1] == seen[-3]:
            stop.ask()

    plan = Plan(Limits(batch=10, max_tokens=10_000, max_age=0.0, in_flight=2), spool=50, guard=True)
    assert loop(source, begin(), plan, stop, show).run() == "stopped"
    assert source.yielded < 3_000, "one transaction's worth and the spool"
    assert len(arrivals(engine)) == source.yielded
    assert [tweets for _, _, tweets in shards(engine)] == [10, 10, 10], "two at work, and the batch in hand at the end"


def test_a_source_that_cannot_wait_is_spooled(engine: Engine):
    source = Scripted([tweet(str(number)) for number in range(3_000)], waits=False)
    stop = Stop()
    plan = Plan(Limits(batch=10, max_tokens=10_000, max_age=0.0, in_flight=2), spool=50, guard=True)
    source.script = [*source.script, stop.ask, None]
    loop(source, begin(), plan, stop).run()
    assert len(arrivals(engine)) == 3_000
    assert len(shards(engine)) == 3


def test_a_slot_that_a_finished_shard_leaves_is_taken_by_the_next(engine: Engine):
    plan = Plan(Limits(batch=2, max_tokens=10_000, max_age=0.0, in_flight=1), spool=100, guard=True)
    held = begin()
    assert loop(Scripted([tweet(str(number)) for number in range(7)]), held, plan, show=lambda: work_off(engine) and None).run() == "ended"
    assert [tweets for _, _, tweets in shards(engine)] == [2, 2, 2, 1]


def test_what_a_source_cannot_go_on_from_is_told_and_what_came_before_is_kept(engine: Engine):
    def fail() -> None:
        raise SourceError("the folder is gone: give another")

    with pytest.raises(SourceError):
        loop(Scripted([*(tweet(name) for name in "abcd"), fail]), begin(), replace(PLAN, limits=replace(PLAN.limits, max_age=1e3))).run()
    assert stream(engine) == ("failed", "d", None, "the folder is gone: give another")
    assert shards(engine) == [(1, 3, 3), (4, 4, 1)]


def test_what_is_stored_of_a_failure_quotes_no_tweet(engine: Engine):
    def fail() -> None:
        TweetRecord(id="b", text=7, source="told in confidence")  # type: ignore[arg-type]

    with pytest.raises(ValidationError):
        loop(Scripted([tweet("a"), fail]), begin()).run()
    assert stream(engine)[3] == "TweetRecord: 1 invalid fields"


def test_a_cancelled_stream_ends_and_keeps_what_waits(engine: Engine):
    held = begin()
    assert held.job is not None

    def cancel() -> None:
        with transaction() as connection:
            fanout.cancel(connection, held.job)  # type: ignore[arg-type]

    source = Scripted([tweet("a"), None, cancel, tweet("b"), *[None] * 100_000])
    with pytest.raises(StreamCancelled):
        loop(source, held).run()
    assert stream(engine)[:2] == ("stopped", "b")
    assert jobs.state(engine, held.job) == "cancelled"
    loop(Scripted([]), begin()).run()
    assert sum(tweets for _, _, tweets in shards(engine)) == 2


def test_a_process_whose_stream_was_taken_stops_and_writes_nothing_more(engine: Engine):
    def lose() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE stream SET owner = 'another'")

    with pytest.raises(StreamLost):
        loop(Scripted([tweet("a"), None, lose, tweet("b"), None]), begin()).run()
    assert arrivals(engine) == [(1, "a")]
    assert stream(engine)[:3] == ("running", "a", "another")


def test_holes_are_said_as_they_come(engine: Engine):
    said: list[str] = []
    loop(Scripted([tweet("a"), tweet("b")]), begin(), on_event=lambda event: said.append(event.cursor)).run()
    assert said == ["a", "b"]
