"""Keeps how far a stream was read: the cursor that is stored, what is repeated after a connection broke, and what was missed meanwhile."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from producers.sources.live import cursors
from producers.sources.live.jetstream.wires import Frame
from producers.sources.live.recent import Recent
from workers.ingest.live import Hole


@dataclass(frozen=True)
class Position:
    """Where reading goes on: what a stored cursor says.

    Attributes:
        version: of the wire.
        host: that numbered the event, with its port: the cursors of another one mean other events.
        place: cursor of the last event; None before the first one.
        behind: how many events at this cursor are done: at a moment there may be several.
        moment: when the server saw it.
    """

    version: int
    host: str
    place: int | None = None
    behind: int = 0
    moment: datetime | None = None

    def __str__(self) -> str:
        place = {"wire": self.version, "host": self.host, "place": self.place, "behind": self.behind}
        return json.dumps(place | {"time_us": cursors.stored(self.moment)})

    @classmethod
    def read(cls, cursor: str) -> Position:
        """Return the position that a stored cursor means.

        Raises:
            SourceError: it is not one of Jetstream.
        """
        try:
            stored = json.loads(cursor)
            position = cls(stored["wire"], stored["host"], stored["place"], stored["behind"], cursors.moment_of(stored["time_us"]))
            if position.place is not None and (not 0 <= position.place < 2**63 or position.moment is None or position.behind < 0):
                raise ValueError
        except (ValueError, TypeError, KeyError, OverflowError):
            raise cursors.foreign("Jetstream") from None
        return position


class Trail:
    """What is known of a stream while it is read.

    Args:
        start: where to begin.
        version: of the wire that is read.
        host: that is read.
        rewind: seconds that reading begins earlier at another server than the one whose cursor is stored.
        hole_after: seconds without an event behind a cursor that are told as a hole.

    Attributes:
        position: of the last event.
    """

    def __init__(self, start: Position, version: int, host: str, rewind: float, hole_after: float) -> None:
        self.position = start
        self._here = Position(version, host)
        self._rewind, self._hole_after = timedelta(seconds=rewind), timedelta(seconds=hole_after)
        self._by_time = (start.version, start.host) != (version, host)
        self._lost: str | None = None
        self._resumed = False
        self._known = Recent()
        self._repeated = 0 if self._by_time else start.behind

    def resume(self) -> int | None:
        """Return the cursor with which a connection is opened; None to begin with what comes next."""
        self._resumed = self.position.place is not None
        if not self._by_time or self.position.moment is None:
            return self.position.place
        return cursors.microseconds(self.position.moment - self._rewind)

    def is_of(self, host: str) -> bool:
        """Whether the last event came from this server."""
        return self.position.place is not None and self.position.host == host

    def lose(self, reason: str) -> bool:
        """Note that the server has no longer what comes behind the cursor; it is told with the first event that there is.

        Returns:
            Whether reading goes on by the moment of the last event from now on; False where it did so already.
        """
        self._lost = reason
        return self.distrust()

    def distrust(self) -> bool:
        """Go on by the moment of the last event, since its cursor means nothing to this server; False where that was done already."""
        changed, self._by_time = not self._by_time, True
        return changed

    def hole(self, frame: Frame) -> Hole | None:
        """Return what is missing before the first event of a connection, if anything is. Asked for each event."""
        resumed, self._resumed = self._resumed, False
        since, until = self.position.moment, frame.moment
        if self._lost is not None:
            reason, self._lost = self._lost, None
            return Hole(since, until, reason)
        if not resumed or since is None or until is None or until - since <= self._hole_after or self.is_known(frame):
            return None
        seconds = (until - since).total_seconds()
        return Hole(since, until, f"{self._here.host} sent nothing of the {seconds:.0f} s behind the last event: it may have kept less")

    def before(self, frame: Frame) -> Position:
        """Return the position from which this event is read as the next one."""
        return replace(self._here, place=frame.place, moment=frame.moment)

    def is_known(self, frame: Frame) -> bool:
        """Whether this event came before, in this run or, at the cursor it began with, before it."""
        return frame.key in self._known or (self._repeated > 0 and frame.place == self.position.place)

    def advance(self, frame: Frame) -> bool:
        """Note that an event came; False if it had come before. Of reordered events the latest is the position."""
        if not self._known.add(frame.key):
            return False
        if not self._by_time and frame.place == self.position.place and self._repeated > 0:
            self._repeated -= 1
            return False
        self._repeated = 0
        if self._by_time or self.position.place is None or frame.place > self.position.place:
            self._by_time = False
            self.position = replace(self._here, place=frame.place, behind=1, moment=frame.moment)
        elif frame.place == self.position.place:
            self.position = replace(self.position, behind=self.position.behind + 1)
        return True
