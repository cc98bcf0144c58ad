"""Reads tweets from standard input, or from a pipe that has a path, line by line as they come. It can't be read again."""

from __future__ import annotations

import json
import os
import select
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from producers.sources.live.line_events import LineEvents
from producers.sources.live.line_splitting import READ_BYTES, Splitter
from workers.ingest.live import Event
from workers.ingest.readers.containers import STDIN
from workers.ingest.readers.errors import SourceError

if TYPE_CHECKING:
    from producers.sources.live.registry import LiveOptions


class Pipe:
    """The tweets of standard input or a pipe: JSON Lines, or CSV whose first line names the columns.

    Args:
        address: `-`, or the path of a pipe.
        options: as `producers.sources.live.registry` has them.

    Raises:
        SourceError: standard input is closed.
    """

    waits = True

    def __init__(self, address: str, options: LiveOptions) -> None:
        if address == STDIN and (sys.stdin is None or sys.stdin.closed):
            raise SourceError("standard input is closed: name a file, or pipe one in")
        self.origin = address
        self._options = options

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is standard input or a pipe."""
        return address == STDIN or (Path(address).exists() and stat.S_ISFIFO(Path(address).stat().st_mode))

    def events(self, cursor: str | None, idle_seconds: float = 1.0) -> Iterator[Event | None]:
        """Yield what its lines hold until it is closed. The cursor counts lines, and nothing goes on from it."""
        del cursor
        name = self._options.name or ("stdin" if self.origin == STDIN else Path(self.origin).name)
        reader = LineEvents(name, self._options.names, self._options.encoding)
        splitter = Splitter()
        # Opening does not wait for a writer: until one is there, it is told that nothing comes.
        descriptor = sys.stdin.fileno() if self.origin == STDIN else os.open(self.origin, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while True:
                if not select.select([descriptor], [], [], idle_seconds)[0]:
                    yield None
                elif data := os.read(descriptor, READ_BYTES):
                    yield from reader.events(splitter.feed(data), _cursor)
                else:
                    break
            yield from reader.events(splitter.end(), _cursor, last=True)
        finally:
            if self.origin != STDIN:
                os.close(descriptor)


def _cursor(offset: int, line: int) -> str:
    del offset
    return json.dumps({"line": line})
