"""Writes for requests that arrive together in one call of the engine, in a thread of its own.

What waits is taken in the order in which it came. Each tweet has a ticket of its own, so that an answer can go to nobody else, and a
client that leaves takes its tickets out of what waits.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from workers import clock
from workers.errors import TweetmillError, Unavailable
from workers.inference import engines
from workers.inference.engine import EngineError
from workers.inference.guard import Guarded
from workers.serving.refusals import Refused
from workers.serving.served import Served, Source
from workers.text.instructions import PROMPT_VERSION

logger = logging.getLogger(__name__)

GATHER = 0.01
"""Seconds that a batch waits for what arrives with its first tweet."""

PATIENCE = 60.0
"""Seconds that an endpoint which starts waits for what its engine needs."""

_PAUSE = 0.5
_SMOOTHING = 0.3  # of the newest batch in the mean time of a tweet
_FIRST_GUESS = 0.5  # seconds a tweet, before there was a batch
_WARM_UP = "The bus was late again and I missed my train."


class _AllLeft(Exception):
    """Nobody waits for the batch any more."""


@dataclass(frozen=True)
class Answer:
    """What was written for one tweet, and by which model."""

    served: Served
    result: Guarded

    def verdict(self) -> dict[str, Any]:
        """Return what the checks found on the text, and how it came about."""
        flags = list(self.result.flags)
        return {"flags": flags, "tries": self.result.tries, "fallback": "fallback" in flags, "prompt_version": PROMPT_VERSION}


@dataclass(eq=False)
class Ticket:
    """One tweet of one request.

    Attributes:
        tweet: as it was sent.
        future: of its answer.
        left: whether its client has gone.
    """

    tweet: str
    future: Future[Answer] = field(default_factory=Future)
    left: bool = False


@dataclass(frozen=True)
class Batch:
    """What is known of a batch that has ended: of its tweets and seconds, for the metrics."""

    rows: int
    seconds: float


class Batcher:
    """The tickets that wait, and the thread that writes.

    Args:
        source: of the model.
        guard: whether answers are checked.
        batch: tweets that are written together, at most.
        queue: tickets that may wait, at most.
        on_batch: is told of each batch that has ended.
    """

    def __init__(self, source: Source, *, guard: bool, batch: int, queue: int, on_batch: Callable[[Batch], None] = lambda _: None) -> None:
        self._source = source
        self._guard = guard
        self._batch = batch
        self._queue = queue
        self._on_batch = on_batch
        self._waiting: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._in_flight = 0
        self._seconds_a_row = _FIRST_GUESS
        self._served: Served | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._started: Future[Served] = Future()

    def start(self) -> Served:
        """Start the thread; return what is served, once the engine is warm.

        Raises:
            TweetmillError: there is no such model, or it can't be used.
            EngineError: the engine can't be built, or can't write.
        """
        self._thread.start()
        return self._started.result()

    def stop(self) -> None:
        """Write for what waits, and end the thread; the engine lets go of its memory."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    @property
    def served(self) -> Served:
        """What is served now."""
        assert self._served is not None
        return self._served

    @property
    def waiting(self) -> int:
        """How many tickets wait for a batch."""
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        """How many tweets are written for at this moment."""
        return self._in_flight

    def submit(self, tweets: Sequence[str]) -> list[Ticket]:
        """Queue the tweets of a request, all or none; return their tickets.

        Raises:
            Refused: too many wait, or the endpoint is stopping.
        """
        with self._changed:
            if self._stopped:
                raise Refused(503, "the endpoint is stopping: try again later", "stopping", retry_after=5)
            waiting = len(self._waiting)
            if waiting + len(tweets) > self._queue:
                after = (waiting + self._in_flight) * self._seconds_a_row
                raise Refused(429, f"{waiting} tweets wait already, of {self._queue} at most: try again later", "overloaded", None, after)
            tickets = [Ticket(tweet) for tweet in tweets]
            self._waiting.extend(tickets)
            self._changed.notify()
        return tickets

    def leave(self, tickets: Sequence[Ticket]) -> None:
        """Take out the tickets of a client that has gone. What is being written for already is dropped when it comes."""
        with self._changed:
            for ticket in tickets:
                ticket.left = True
                if ticket in self._waiting:
                    self._waiting.remove(ticket)

    def _run(self) -> None:
        try:
            self._served = self._source.current()
            _warm_up(self._served)
        except BaseException as error:
            self._started.set_exception(error)
            return
        self._started.set_result(self._served)
        while tickets := self._next():
            began = clock.now()
            self._write(tickets)
            took = clock.now() - began
            self._seconds_a_row += _SMOOTHING * (took / len(tickets) - self._seconds_a_row)
            self._in_flight = 0
            self._on_batch(Batch(len(tickets), took))
        engines.release()

    def _next(self) -> list[Ticket]:
        """Wait for tickets; return those of the next batch, none once all is written and the endpoint stops."""
        with self._changed:
            while True:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if len(self._waiting) < self._batch and not self._stopped:
                    self._changed.wait_for(lambda: len(self._waiting) >= self._batch or self._stopped, GATHER)
                first = [self._waiting.popleft() for _ in range(min(self._batch, len(self._waiting)))]
                taken = [ticket for ticket in first if ticket.future.set_running_or_notify_cancel()]
                if taken or (self._stopped and not self._waiting):
                    self._in_flight = len(taken)
                    return taken

    def _write(self, tickets: Sequence[Ticket]) -> None:
        """Write for each ticket. What goes wrong with one tweet costs the others nothing but time."""
        try:
            self._served = self._source.current()
            self._answer(self._served, tickets)
        except _AllLeft:
            logger.info("nobody waits for the %d tweets of a batch any more", len(tickets))
        except (EngineError, Unavailable) as error:
            logger.warning("engine: %s", error)
            _fail(tickets, Refused(503, "the model can't answer now: try again later", "engine_unavailable", retry_after=5))
        except TweetmillError as error:
            logger.error("engine: %s", error)  # noqa: TRY400 - a sentence for people; a traceback would hold tweets
            _fail(tickets, Refused(500, "the model can't be used: the log of the endpoint says why", "unusable_model"))
        except Exception as error:
            logger.error("engine: %s in a batch of %d", type(error).__name__, len(tickets))  # noqa: TRY400
            self._write_one_by_one([ticket for ticket in tickets if not ticket.future.done()])

    def _write_one_by_one(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            try:
                self._answer(self.served, [ticket])
            except _AllLeft:
                continue
            except Exception as error:
                logger.error("engine: %s at one tweet", type(error).__name__)  # noqa: TRY400
                _fail([ticket], Refused(500, "the model can't answer this tweet", "unanswerable"))

    def _answer(self, served: Served, tickets: Sequence[Ticket]) -> None:
        def look(_: int) -> None:
            if all(ticket.left or ticket.future.done() for ticket in tickets):
                raise _AllLeft

        for places, results in served.writer.stream([ticket.tweet for ticket in tickets], guard=self._guard, on_progress=look):
            for place, result in zip(places, results, strict=True):
                tickets[place].future.set_result(Answer(served, result))


def _warm_up(served: Served) -> None:
    """Have a model write once; a GPU that is held, or a server that starts, is waited for.

    Raises:
        TweetmillError, EngineError: it can't write, or not within `PATIENCE`.
    """
    give_up = clock.now() + PATIENCE
    while True:
        try:
            served.writer.warm_up(_WARM_UP)
        except Unavailable:
            if clock.now() >= give_up:
                raise
            time.sleep(_PAUSE)
        else:
            return


def _fail(tickets: Sequence[Ticket], why: Refused) -> None:
    for ticket in tickets:
        if not ticket.future.done():
            ticket.future.set_exception(why)
