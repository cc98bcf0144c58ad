"""Types of what a source yields: a tweet, the reason why a row holds none, or the name of what is no tweet."""

from __future__ import annotations

from dataclasses import dataclass, replace

from schemas.records import TweetRecord
from workers.ingest.readers.errors import RowError, SourceError
from workers.ingest.readers.row import Unit

__all__ = ["Fields", "Line", "Notice", "RefusalError", "RejectedTweet", "SourceError"]

Fields = dict[str, object]
"""What a row says of a tweet's `id`, `text`, `author`, `lang`, `created_at` and `conversation`, nothing checked yet."""


@dataclass(frozen=True)
class RejectedTweet:
    """A tweet that was rejected. `reason` never quotes the tweet; its place is given as that of a `Line`."""

    line: int
    field: str | None
    reason: str
    item: int | None = None
    unit: Unit = "line"


@dataclass(frozen=True)
class Notice:
    """A row that is no tweet and is not meant to be one, such as a deletion in a stream."""

    name: str


@dataclass(frozen=True)
class Line:
    """What line `number` (from 1) held: exactly one of a tweet, a rejection and a notice.

    A line that holds a page of tweets yields one `Line` a tweet, all with the same number, so a reader that resumes must
    only count a number as done when a higher one has come.

    Attributes:
        number: the line's, from 1.
        tweet: with the fields in `unusable` left out.
        rejected: why there is none.
        notice: what it is that is no tweet.
        unusable: optional fields whose values could not be used.
        item: the tweet's place where several stand on one line, from 1.
        unit: what `number` counts: lines, or the elements of an array that spans the file.
    """

    number: int
    tweet: TweetRecord | None = None
    rejected: RejectedTweet | None = None
    notice: str | None = None
    unusable: tuple[str, ...] = ()
    item: int | None = None
    unit: Unit = "line"

    def at(self, item: int | None, unit: Unit = "line") -> Line:
        """Return the same, at this place on its line, counted by this unit."""
        return replace(self, item=item, unit=unit, rejected=replace(self.rejected, item=item, unit=unit) if self.rejected else None)


class RefusalError(RowError):
    """Why one tweet is refused: the field, and a reason that does not quote it."""

    def on(self, number: int) -> Line:
        """Return this refusal as the outcome of line `number`."""
        return Line(number, rejected=RejectedTweet(number, self.field, self.reason))
