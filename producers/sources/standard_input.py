"""Reads tweets from standard input, which can't be read again: an ingest of it has no cursor."""

from __future__ import annotations

from collections.abc import Iterator

from producers.sources.files import read
from producers.sources.lines import Line
from producers.sources.names import Names
from workers.ingest.readers.containers import STDIN


class StandardInput:
    """The tweets of standard input, in any form of a file.

    Args:
        address: `-`.
        name: the source's name that tweets carry; by default `stdin`.
        names: as in `producers.sources.files.read`.
        encoding: as there.
    """

    def __init__(self, address: str, name: str | None = None, names: Names | None = None, encoding: str | None = None) -> None:
        self.origin = address
        self.cursor = None
        self._name, self._names, self._encoding = name, names, encoding

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is that of standard input."""
        return address == STDIN

    def lines(self, after: int = 0) -> Iterator[Line]:
        """Yield the lines behind a position: see `producers.sources.files.read`."""
        return read(STDIN, self._name, after, None, self._names, self._encoding)

    def progress(self) -> None:
        """Return None: nobody knows how much will come."""
