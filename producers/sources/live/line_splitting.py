"""Splits bytes that come in pieces into whole lines; what has no line end yet waits, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from workers.ingest.readers.text import LONGEST_LINE

READ_BYTES = 256 * 1024
"""How many bytes are read at once."""


class RawLine(NamedTuple):
    """A line in bytes.

    Attributes:
        number: from 1.
        start: how many bytes stand before it.
        end: how many bytes there are with it.
        data: with its line end; None for one that is longer than `LONGEST_LINE`.
    """

    number: int
    start: int
    end: int
    data: bytes | None


class Splitter:
    """Makes lines of bytes.

    Args:
        offset: how many bytes stand before what comes.
        number: how many lines do.

    Attributes:
        offset: how many bytes stand before the line that is not whole yet.
        number: of the last whole line.
    """

    def __init__(self, offset: int = 0, number: int = 0) -> None:
        self.offset, self.number = offset, number
        self._parts: list[bytes] = []
        self._waiting = 0

    @property
    def read_up_to(self) -> int:
        """How many bytes were taken, those of the half line included."""
        return self.offset + self._waiting

    def feed(self, data: bytes) -> Iterator[RawLine]:
        """Yield the lines that are whole with these bytes."""
        begin = 0
        while end := data.find(b"\n", begin) + 1:
            self._keep(data[begin:end])
            yield self._line()
            begin = end
        if begin < len(data):
            self._keep(data[begin:])

    def end(self) -> Iterator[RawLine]:
        """Yield the last line where it has no line end: nothing more will come."""
        if self._waiting:
            yield self._line()

    def _keep(self, part: bytes) -> None:
        self._waiting += len(part)
        if self._waiting <= LONGEST_LINE:
            self._parts.append(part)
        else:
            self._parts.clear()

    def _line(self) -> RawLine:
        self.number += 1
        start, self.offset = self.offset, self.offset + self._waiting
        data = b"".join(self._parts) if self._waiting <= LONGEST_LINE else None
        self._parts, self._waiting = [], 0
        return RawLine(self.number, start, self.offset, data)
