"""What an ingest asks of the place that tweets come from. The sources themselves are in `producers.sources`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from sqlalchemy import Connection

from schemas.records import TweetRecord
from workers.ingest.readers.row import Unit


class Rejection(Protocol):
    """Why a line holds no tweet. The reason never quotes it; `item` is its place where several stand on one line."""

    @property
    def line(self) -> int: ...  # noqa: D102
    @property
    def field(self) -> str | None: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def item(self) -> int | None: ...  # noqa: D102
    @property
    def unit(self) -> Unit: ...  # noqa: D102


class SourceLine(Protocol):
    """What a source yields for line `number` (from 1): a tweet, a rejection, or a notice, which is none. Several may have one number."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def tweet(self) -> TweetRecord | None: ...  # noqa: D102
    @property
    def rejected(self) -> Rejection | None: ...  # noqa: D102
    @property
    def notice(self) -> str | None: ...  # noqa: D102
    @property
    def unusable(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def item(self) -> int | None: ...  # noqa: D102
    @property
    def unit(self) -> Unit: ...  # noqa: D102


class Cursor(Protocol):
    """How far a source is ingested, kept in Postgres: an ingest that was interrupted goes on from there."""

    def position(self) -> int:
        """Return the number of lines that are done; 0 unless an ingest was interrupted."""
        ...

    def advance(self, connection: Connection, position: int) -> None:
        """Store, in the transaction that stores the rows, that this many lines are done."""
        ...

    def reset(self) -> None:
        """Go back to the beginning: the source was read to its end."""
        ...


class Source(Protocol):
    """Where tweets come from."""

    @property
    def origin(self) -> str:
        """The name under which its rejected lines are kept, such as a file's path."""
        ...

    @property
    def cursor(self) -> Cursor | None:
        """How far it is ingested; None for what can't be read again, such as standard input."""
        ...

    def lines(self, after: int = 0) -> Iterator[SourceLine]:
        """Yield its lines behind a position of its cursor, in constant memory.

        Raises:
            SourceError: it can't be read.
        """
        ...

    def progress(self) -> tuple[int, int] | None:
        """Return how many bytes were read, and of how many; None where the size is not known."""
        ...
