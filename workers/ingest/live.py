"""What a live source yields, such as a network's stream: tweets, later texts of known ones, deletions, and the holes of what it missed.

Every event carries the cursor behind itself: an opaque text that is stored in the transaction of what it covers. The sources themselves
are in `producers.sources`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from schemas.records import TweetRecord


@dataclass(frozen=True)
class Deletion:
    """A tweet that its author took back, or with an author alone: all that this author wrote.

    Attributes:
        tweet: its id as `TweetRecord.id` has it; None where a whole account is gone.
        author: as `TweetRecord.author` has it; None where the source does not say it.
        resent: what the author has not taken back comes again, and is to be taken.
    """

    tweet: str | None = None
    author: str | None = None
    resent: bool = False


@dataclass(frozen=True)
class Hole:
    """What a source no longer had when it was asked to go on from a cursor.

    Attributes:
        since: the moment of the last event before the hole; None where the cursor does not tell it.
        until: of the first event behind it; None where there is none yet.
        reason: in a sentence, for people.
    """

    since: datetime | None
    until: datetime | None
    reason: str


@dataclass(frozen=True)
class Unusable:
    """A frame or an entry that is no tweet though it should be one. The reason never quotes it."""

    key: str
    field: str | None
    reason: str


@dataclass(frozen=True)
class Event:
    """One thing that a live source says: at most one of tweet, deletion, hole, rejected row and notice; none of them only moves the cursor.

    Attributes:
        cursor: where reading goes on behind this event, whatever the source makes of it; at most 2,000 characters.
        tweet: a tweet.
        revised: the tweet is a later version of one that may be known: its text takes the place of the known text.
        deleted: what was taken back; beside a notice or a rejected row where a later version of a tweet is none that is taken.
        reinstated: an author whose account is in use, and whose tweets may come in again if it had been gone; beside a notice.
        hole: what was missed.
        rejected: why a frame could not be used.
        notice: the kind of an event that is none of these, such as another language; they are counted.
        moment: when the source says that it happened: the lag is counted from it.
        said: what people are told as it comes, in a sentence.
    """

    cursor: str
    tweet: TweetRecord | None = None
    revised: bool = False
    deleted: Deletion | None = None
    reinstated: str | None = None
    hole: Hole | None = None
    rejected: Unusable | None = None
    notice: str | None = None
    moment: datetime | None = None
    said: str | None = None


class LiveSource(Protocol):
    """Where tweets come from as they are written."""

    @property
    def origin(self) -> str:
        """The name under which its cursor and its rejected rows are kept. It holds no secret."""
        ...

    @property
    def waits(self) -> bool:
        """Whether it waits while nobody reads, as a file does; a network's stream goes on and forgets."""
        ...

    def events(self, cursor: str | None, idle_seconds: float = 1.0) -> Iterator[Event | None]:
        """Yield events behind a cursor, forever or until there is no more, in constant memory.

        It connects again by itself, with growing pauses, for as long as what went wrong may pass. Closing the iterator closes the
        connection.

        Args:
            cursor: of the last event that was stored; None to begin as the source's settings say.
            idle_seconds: where nothing comes for that long, it yields None, so that a batch need not wait for the next event.

        Raises:
            SourceError: it can't be read, and waiting would not help; says what to do.
        """
        ...
