"""What reading a source yields: a tweet, or the reason why a line holds none."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.records import Tweet


class SourceError(ValueError):
    """The source as a whole cannot be read; the message says what to do about it."""


@dataclass(frozen=True)
class Rejected:
    """A tweet that was refused. `reason` never quotes the tweet."""

    line: int
    field: str | None
    reason: str


@dataclass(frozen=True)
class Line:
    """What line `number` (from 1) held: exactly one of a tweet and a rejection.

    A line that holds a page of tweets yields one `Line` a tweet, all with the same number, so a reader that resumes must
    only count a number as done when a higher one has come.
    """

    number: int
    tweet: Tweet | None = None
    rejected: Rejected | None = None


class RefusalError(Exception):
    """Why one tweet is refused: the field, and a reason that does not quote it."""

    def __init__(self, field: str | None, reason: str) -> None:
        super().__init__(reason)
        self.field = field
        self.reason = reason

    def on(self, number: int) -> Line:
        """This refusal as the outcome of line `number`."""
        return Line(number, rejected=Rejected(number, self.field, self.reason))
