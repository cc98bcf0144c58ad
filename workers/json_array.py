"""The elements of a JSON array of any length, one after the other, in constant memory: many tools keep their rows in one array."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from workers.lines import LONGEST_LINE

_CHUNK = 64 * 1024  # bytes
_MARKS = re.compile(rb'["{}\[\],]')
_IN_STRING = re.compile(rb'["\\]')
_BEGINNING = re.compile(rb"(?:\xef\xbb\xbf)?\s*(.)", re.DOTALL)


def is_array(path: Path) -> bool:
    """Whether the first thing in a file is the opening of an array."""
    with path.open("rb") as file:
        found = _BEGINNING.match(file.read(_CHUNK))
    return found is not None and found.group(1) == b"["


def elements(path: Path) -> Iterator[bytes | None]:
    """What stands between the commas of the array, unparsed; None for an element that is too long to hold.

    Only quotes and brackets are looked at. An element that is not valid JSON costs itself, unless it opens what it does not close.
    """
    cutter = _Cutter()
    with path.open("rb") as file:
        while not cutter.closed and (chunk := file.read(_CHUNK)):
            yield from cutter.feed(chunk)
    yield from cutter.rest()


class _Cutter:
    """Cuts an array at the commas of its own level. An element is kept in the pieces in which the file was read."""

    def __init__(self) -> None:
        self.closed = False
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, chunk: bytes) -> Iterator[bytes | None]:
        """The elements that end in this chunk."""
        place = start = 0
        while not self.closed:
            if self._escaped:
                self._escaped = False
                place += 1
            found = (_IN_STRING if self._in_string else _MARKS).search(chunk, place)
            if found is None:
                break
            place = found.end()
            if self._in_string:
                self._in_string = found.group() != b'"'
                self._escaped = found.group() == b"\\"
                if self._escaped and place == len(chunk):
                    break  # what it escapes comes first in the next chunk
            elif self._ends_here(found.group()):
                yield from self._element(chunk[start : found.start()])
                start = place
            elif self._depth == 1 and found.group() == b"[":
                # The array itself opens.
                start = place
        self._keep(chunk[start:])

    def rest(self) -> Iterator[bytes | None]:
        """What was begun and not ended when the file did."""
        if not self.closed:
            yield from self._element(b"")

    def _ends_here(self, mark: bytes) -> bool:
        """Whether an element of the array ends with this mark; keeps count of the levels."""
        if mark == b'"':
            self._in_string = True
        elif mark in b"{[":
            self._depth += 1
        elif mark in b"}]":
            self._depth -= 1
            self.closed = self._depth == 0
            return self.closed
        return mark == b"," and self._depth == 1

    def _keep(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length <= LONGEST_LINE:
            self._pieces.append(piece)

    def _element(self, piece: bytes) -> Iterator[bytes | None]:
        self._keep(piece)
        whole = b"".join(self._pieces) if self._length <= LONGEST_LINE else None
        self._pieces, self._length = [], 0
        if whole is None or whole.strip():
            yield whole
