"""Stores rows in an unnamed temporary file: a job holds eight bytes of memory a row, however long the rows are."""

from __future__ import annotations

import json
import os
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")

_ROWS_AT_ONCE = 1024


class DiskRows(Sequence[T], Generic[T]):
    """A sequence on disk: rows are appended, and read by index or in order.

    Args:
        encode: a row as something that JSON knows.
        decode: the row again.
        folder: where the file lies; default: the system's folder for such files, which may be memory.
    """

    def __init__(self, encode: Callable[[T], Any], decode: Callable[[Any], T], folder: Path | None = None) -> None:
        self._encode = encode
        self._decode = decode
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as its rows are wanted
        self._ends = array("Q", [0])
        self._flushed = 0

    def append(self, row: T) -> None:
        """Add a row at the end."""
        written = self._file.write(json.dumps(self._encode(row), separators=(",", ":")).encode() + b"\n")
        self._ends.append(self._ends[-1] + written)

    def extend(self, rows: Iterable[T]) -> None:
        """Add rows at the end."""
        for row in rows:
            self.append(row)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        return next(self._read(place, place + 1))

    def __iter__(self) -> Iterator[T]:
        for start in range(0, len(self), _ROWS_AT_ONCE):
            yield from self._read(start, min(start + _ROWS_AT_ONCE, len(self)))

    def _read(self, first: int, last: int) -> Iterator[T]:
        if self._flushed < self._ends[last]:
            self._file.flush()
            self._flushed = self._ends[-1]
        content = os.pread(self._file.fileno(), self._ends[last] - self._ends[first], self._ends[first])
        return (self._decode(json.loads(line)) for line in content.splitlines())


def texts_on_disk(folder: Path | None = None) -> DiskRows[str]:
    """Return an empty sequence of texts on disk."""
    return DiskRows(str, str, folder)
