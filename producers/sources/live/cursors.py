"""What the cursors of all networks have in common: moments as whole microseconds, and the refusal of those of another source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from workers.ingest.readers.errors import SourceError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def stored(moment: datetime | None) -> int | None:
    """Return a moment as a cursor has it."""
    return None if moment is None else microseconds(moment)


def moment_of(value: object) -> datetime | None:
    """Return the moment that a cursor has.

    Raises:
        TypeError, OverflowError: it has none.
    """
    if value is None:
        return None
    if not isinstance(value, int):
        raise TypeError
    return _EPOCH + timedelta(microseconds=value)


def foreign(what: str) -> SourceError:
    """Return the error of a cursor that is not one of `what`."""
    return SourceError(f"the cursor that is stored for this stream is not one of {what}: give the stream another name")
