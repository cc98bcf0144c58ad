"""Registers the kinds of sources that `tweetmill ingest` knows. A new one is a module like `standard_input`, and its class in `SOURCES`."""

from __future__ import annotations

from typing import Protocol

from producers.sources.files import FileSource
from producers.sources.names import Names
from producers.sources.standard_input import StandardInput
from workers.ingest.source import Source


class Kind(Protocol):
    """A class of sources."""

    def __call__(self, address: str, name: str | None, names: Names | None, encoding: str | None, /) -> Source:
        """Return the source of an address; nothing is read yet.

        Raises:
            SourceError: there is nothing to read.
        """
        ...

    def takes(self, address: str, /) -> bool:
        """Whether an address is one of this kind."""
        ...


# The first that takes an address has it. Any address may be a path.
SOURCES: tuple[Kind, ...] = (StandardInput, FileSource)


def open_source(address: str, name: str | None = None, names: Names | None = None, encoding: str | None = None) -> Source:
    """Return the source of an address, such as a path or `-`.

    Args:
        address: as a person types it.
        name: that its tweets carry; by default made of the address.
        names: how the fields of its rows are called, where the table of names does not say it.
        encoding: of its text, where no mark tells it.

    Raises:
        SourceError: there is nothing to read.
    """
    return next(kind for kind in SOURCES if kind.takes(address))(address, name, names, encoding)
