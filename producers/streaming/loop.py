"""Reads a live source, stores what it says, and makes shards of what waits, until it is asked to stop or nothing more comes.

All is in one thread: a source that can wait is not read while too much waits, and one that can't fills the backlog in Postgres. Memory
holds the events of one transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError

from tasks import streams
from workers import clock
from workers.database import transaction
from workers.errors import Unavailable
from workers.ingest.readers.errors import SourceError
from workers.jobs.failures import words_of
from workers.streams import arrivals, holding, micro_batches
from workers.streams.micro_batches import Limits, StreamCancelled, Waiting

if TYPE_CHECKING:
    from workers.ingest.live import Event, LiveSource
    from workers.streams.holding import Ended, Held

logger = logging.getLogger(__name__)
T = TypeVar("T")

_EVENTS, _CHARACTERS, _SECONDS = 1_000, 4_000_000, 0.5
"""What one transaction stores at most, and after how long it stores what there is."""

_IDLE = 0.25  # seconds without an event after which a source says so
_LOOK_EVERY = 0.25  # seconds between two looks at the backlog
_RENEW_EVERY = 5.0
_PAUSE, _LONGEST_PAUSE = 0.2, 5.0  # seconds between two tries at Postgres
_GIVE_UP = 10.0  # seconds for which a stream that was asked to stop waits for Postgres


@dataclass(frozen=True)
class Plan:
    """How a stream is worked off.

    Attributes:
        limits: when a shard is made.
        spool: tweets that wait at most before a source that can wait is read on.
        guard: whether summaries are checked against their tweets.
    """

    limits: Limits
    spool: int
    guard: bool


class StreamLoop:
    """Works one stream off.

    Args:
        source: where it comes from.
        held: the stream, which this process has taken.
        plan: how.
        stopping: whether to stop.
        show: called again and again while it runs. It is not tried again: what it raises ends the stream.
        on_event: called with each event that is to be shown to somebody, such as a hole.
    """

    def __init__(
        self,
        source: LiveSource,
        held: Held,
        plan: Plan,
        *,
        stopping: Callable[[], bool],
        show: Callable[[], None],
        on_event: Callable[[Event], None],
    ) -> None:
        self._source, self._held, self._plan = source, held, plan
        self._stopping, self._show, self._on_event = stopping, show, on_event
        self._events: list[Event] = []
        self._characters = 0
        self._since = self._looked = self._renewed = clock.now()
        self._waiting = Waiting(0, 0, 0.0, 0, 0)

    def run(self) -> Ended:
        """Work until the source ends or `stopping` says so; what was read is stored and given back in any case.

        Returns:
            Why it ended.

        Raises:
            SourceError: the source can't be read on. What it said before has shards.
            StreamCancelled: the stream's job was cancelled.
            StreamLost: another process has the stream.
            Unavailable: Postgres did not answer while it stopped. Nothing is lost that the source can say again.
        """
        try:
            ended = self._work()
        except StreamCancelled:
            self._persist(lambda: streams.end(self._held, "stopped"))
            streams.cancel_rest(self._held)
            raise
        except holding.StreamLost:
            raise
        except Exception as error:
            reason = words_of(error)
            with suppress(Unavailable, DBAPIError):
                self._persist(lambda: streams.end(self._held, "failed", reason))
            raise
        self._persist(lambda: streams.end(self._held, ended))
        return ended

    def _work(self) -> Ended:
        try:
            ended = self._read()
        except SourceError:
            logger.warning("the source can't be read on: what waits gets its shards first")
            self._finish("ended")
            raise
        return self._finish(ended)

    def _read(self) -> Ended:
        try:
            with closing(self._source.events(self._held.cursor, _IDLE)) as events:  # type: ignore[type-var]
                for event in events:
                    self._take(event)
                    self._look()
                    self._wait_for_room()
                    if self._stopping():
                        return "stopped"
            return "ended"
        finally:
            self._store()

    def _take(self, event: Event | None) -> None:
        if event is not None:
            if not self._events:
                self._since = clock.now()
            self._events.append(event)
            self._characters += len(event.tweet.text) if event.tweet is not None else 0
            self._on_event(event)
        is_full = len(self._events) >= _EVENTS or self._characters >= _CHARACTERS
        if event is None or is_full or clock.now() - self._since >= _SECONDS:
            self._store()

    def _store(self) -> None:
        if not self._events:
            return
        events, self._events, self._characters = self._events, [], 0
        stored = self._persist(lambda: self._store_all(events))
        self._held = replace(self._held, cursor=events[-1].cursor)
        # What is known of the backlog is made exact at the next look.
        self._waiting = replace(self._waiting, backlog=self._waiting.backlog + stored)
        self._renewed = clock.now()

    def _store_all(self, events: Sequence[Event]) -> int:
        with transaction() as connection:
            return arrivals.store(connection, self._held, events).queued

    def _look(self, *, at_once: bool = False) -> None:
        """Make the shards that are due, hold on to the stream, and show how it stands."""
        now = clock.now()
        if not at_once and now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        self._waiting = self._persist(self._waits)
        while micro_batches.is_due(self._waiting, self._plan.limits) and self._make_shard():
            self._waiting = self._persist(self._waits)
        if now - self._renewed >= _RENEW_EVERY:
            self._persist(self._renew)
            self._renewed = now
        self._show()

    def _waits(self) -> Waiting:
        with transaction() as connection:
            return micro_batches.waiting(connection, self._held, self._plan.limits)

    def _renew(self) -> None:
        with transaction() as connection:
            holding.renew(connection, self._held)

    def _make_shard(self) -> int:
        return self._persist(lambda: streams.make_shard(self._held, self._plan.limits, guard=self._plan.guard))

    def _wait_for_room(self) -> None:
        """Read on only when fewer tweets wait than the spool holds, where the source can wait so long."""
        if not self._source.waits or self._waiting.backlog < self._plan.spool:
            return
        self._store()
        self._look(at_once=True)
        while self._waiting.backlog >= self._plan.spool and not self._stopping():
            time.sleep(_LOOK_EVERY)
            self._look(at_once=True)

    def _finish(self, ended: Ended) -> Ended:
        """Make shards of all that waits, as far as there is room; when asked to stop, of one more batch, whatever is at work."""
        self._look(at_once=True)
        every = replace(self._plan.limits, max_age=0.0)
        while ended == "ended" and self._waiting.backlog and not self._stopping():
            if not micro_batches.is_due(self._waiting, every) or not self._make_shard():
                time.sleep(_LOOK_EVERY)
            self._look(at_once=True)
        if not self._waiting.backlog:
            return ended
        self._make_shard()
        return "stopped"

    def _persist(self, work: Callable[[], T]) -> T:
        """Do something in Postgres, again and again while it does not answer: what is not stored yet is in memory, and nothing is read."""
        pause, asked = _PAUSE, None
        while True:
            try:
                return work()
            except (Unavailable, DBAPIError) as error:
                if not isinstance(error, Unavailable) and not _is_passing(error):
                    raise
                logger.warning("not stored yet (%s), trying again", type(error).__name__)
                if self._stopping():
                    asked = asked or clock.now()
                    if clock.now() - asked >= _GIVE_UP:
                        raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _is_passing(error: DBAPIError) -> bool:
    """Whether the same transaction may succeed the next time: it lost against another one, such as that which deletes one of its tweets."""
    return getattr(error.orig, "sqlstate", None) in ("40001", "40P01", "23503", "55P03")
