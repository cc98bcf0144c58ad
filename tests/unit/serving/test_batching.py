"""What arrives together is written together, each for its own ticket, and what goes wrong with one tweet costs no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from schemas.payloads import Stage
from schemas.serving import ServeOptions
from tests.support.worker_process import wait_for
from workers.errors import Unavailable, UserError
from workers.inference.engine import EngineError
from workers.inference.guard import Guarded
from workers.inference.writer import Writer
from workers.serving import served
from workers.serving.batching import Batch, Batcher, Ticket
from workers.serving.refusals import Refused
from workers.serving.served import Served, Source

SECONDS = 10.0


@dataclass
class Scribe:
    """Writes the tweet's last word; `held` keeps a batch until it is set, and a tweet that is a key of `fails` raises.

    The first `sure` tweets of a batch are not held.
    """

    held: threading.Event = field(default_factory=threading.Event)
    fails: dict[str, Exception] = field(default_factory=dict)
    sure: int = 0
    batches: list[list[str]] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)

    def warm_up(self, tweet: str) -> None:
        self.begun.clear()

    def stream(self, tweets: Sequence[str], *, guard: bool, on_progress: Callable[[int], None]) -> Iterator[tuple[range, list[Guarded]]]:
        self.batches.append(list(tweets))
        rows = [Guarded(tweet.split()[-1], (), 1, 2, 1, tweet) for tweet in tweets]
        yield range(self.sure), rows[: self.sure]
        self.begun.set()
        while not self.held.wait(0.01):
            on_progress(0)
        for tweet in tweets:
            if tweet in self.fails:
                raise self.fails[tweet]
        yield range(self.sure, len(tweets)), rows[self.sure :]


def begun(scribe: Scribe, batch: int = 8, queue: int = 8, on_batch: Callable[[Batch], None] = lambda _: None) -> Batcher:
    """A batcher whose thread runs."""
    found = Served(1, "demo", Stage.SUMMARY, 0, cast("Writer", scribe))
    batcher = Batcher(Source(ServeOptions(model="demo"), lambda _: found), guard=True, batch=batch, queue=queue, on_batch=on_batch)
    batcher.start()
    return batcher


@pytest.fixture
def scribe() -> Iterator[Scribe]:
    made = Scribe()
    yield made
    made.held.set()


def text_of(ticket: Ticket) -> str:
    return ticket.future.result(SECONDS).result.text


def occupied(batcher: Batcher, scribe: Scribe) -> Ticket:
    """A ticket that the engine is at, until the scribe is let go."""
    (ticket,) = batcher.submit(["busy 0"])
    assert scribe.begun.wait(SECONDS)
    return ticket


def test_what_waits_while_a_batch_is_written_is_the_next_one(scribe: Scribe) -> None:
    counted: list[Batch] = []
    batcher = begun(scribe, batch=3, on_batch=counted.append)
    first = occupied(batcher, scribe)
    others = [batcher.submit([f"bus {number}"])[0] for number in range(1, 6)]
    scribe.held.set()

    assert [text_of(ticket) for ticket in (first, *others)] == ["0", "1", "2", "3", "4", "5"]
    batcher.stop()
    assert [len(batch) for batch in scribe.batches] == [1, 3, 2]
    assert [batch.rows for batch in counted] == [1, 3, 2]


def test_a_list_that_does_not_fit_is_refused_whole(scribe: Scribe) -> None:
    batcher = begun(scribe, queue=3)
    occupied(batcher, scribe)
    batcher.submit(["bus 1", "bus 2"])

    with pytest.raises(Refused) as refused:
        batcher.submit(["bus 3", "bus 4"])
    assert (refused.value.status, batcher.waiting) == (429, 2)
    assert int(refused.value.response().headers["retry-after"]) >= 1
    batcher.submit(["bus 5"])


def test_a_client_that_leaves_is_not_written_for_and_frees_its_places(scribe: Scribe) -> None:
    batcher = begun(scribe, queue=2)
    first = occupied(batcher, scribe)
    gone = batcher.submit(["bus 1", "bus 2"])
    batcher.leave(gone)
    (after,) = batcher.submit(["bus 3"])
    scribe.held.set()

    assert (text_of(first), text_of(after)) == ("0", "3")
    batcher.stop()
    assert scribe.batches == [["busy 0"], ["bus 3"]]


def test_a_batch_that_nobody_waits_for_any_more_is_stopped(scribe: Scribe) -> None:
    batcher = begun(scribe)
    first = occupied(batcher, scribe)
    batcher.leave([first])
    batcher.stop()  # would wait for ever: nothing lets the scribe go

    assert not first.future.done()


def test_a_batch_is_stopped_too_where_those_who_left_had_some_answers_already(scribe: Scribe) -> None:
    scribe.sure = 1
    batcher = begun(scribe)
    tickets = batcher.submit(["bus 1", "bus 2", "bus 3"])
    assert scribe.begun.wait(SECONDS)
    assert text_of(tickets[0]) == "1"
    scribe.sure = 0
    batcher.leave(tickets)
    (other,) = batcher.submit(["train 9"])
    assert wait_for(lambda: ["train 9"] in scribe.batches, SECONDS), "the engine is free for others while the batch before is held"
    scribe.held.set()
    assert text_of(other) == "9"


def test_a_tweet_at_which_the_engine_fails_costs_the_others_of_its_batch_nothing(scribe: Scribe) -> None:
    scribe.fails["bus bad"] = ValueError("bus bad")
    batcher = begun(scribe)
    occupied(batcher, scribe)
    tickets = batcher.submit(["bus 1", "bus bad", "bus 2"])
    scribe.held.set()

    assert (text_of(tickets[0]), text_of(tickets[2])) == ("1", "2")
    with pytest.raises(Refused, match="can't answer this tweet") as refused:
        tickets[1].future.result(SECONDS)
    assert refused.value.status == 500
    batcher.stop()


def test_an_engine_that_does_not_answer_is_to_be_asked_later(scribe: Scribe) -> None:
    scribe.fails["bus 1"] = EngineError("the server is away")
    batcher = begun(scribe)
    scribe.held.set()
    (ticket,) = batcher.submit(["bus 1"])

    with pytest.raises(Refused) as refused:
        ticket.future.result(SECONDS)
    assert (refused.value.status, refused.value.retry_after) == (503, 5)
    batcher.stop()


def test_what_waits_when_it_is_stopped_is_written_and_nothing_is_taken_after(scribe: Scribe) -> None:
    batcher = begun(scribe, batch=1)
    occupied(batcher, scribe)
    tickets = batcher.submit(["bus 1", "bus 2"])
    scribe.held.set()
    batcher.stop()

    assert [text_of(ticket) for ticket in tickets] == ["1", "2"]
    with pytest.raises(Refused, match="stopping"):
        batcher.submit(["bus 3"])


def test_a_model_that_is_not_there_is_said_at_the_start() -> None:
    def none(_: Any) -> Served:
        raise UserError("there is no model nobody")

    batcher = Batcher(Source(ServeOptions(model="nobody"), none), guard=True, batch=1, queue=1)
    with pytest.raises(UserError, match="nobody"):
        batcher.start()


def test_the_model_in_service_is_looked_up_now_and_then_and_kept_while_postgres_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(served.clock, "now", lambda: now[0])
    answers: list[str | Exception] = ["one", Unavailable(), "two"]

    def look(_: ServeOptions) -> Served:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return Served(len(answers), found, Stage.SUMMARY, 0, cast("Writer", None))

    source = Source(ServeOptions(), look)
    seen = []
    for moment in (0.0, 1.0, 6.0, 7.0, 12.0):
        now[0] = moment
        seen.append(source.current().name)
    assert seen == ["one", "one", "one", "one", "two"]


def test_a_model_that_was_named_is_looked_up_once() -> None:
    looks: list[int] = []

    def look(_: ServeOptions) -> Served:
        looks.append(1)
        return Served(1, "demo", Stage.SUMMARY, 0, cast("Writer", None))

    source = Source(ServeOptions(model="demo"), look)
    assert {source.current().name for _ in range(5)} == {"demo"}
    assert len(looks) == 1
