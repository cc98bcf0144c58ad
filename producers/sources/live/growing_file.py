"""An open file of lines to which others append: reads what is new of it, and notices when it is renamed, replaced or emptied."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from producers.sources.live.line_events import LineEvents
from producers.sources.live.line_splitting import READ_BYTES, RawLine, Splitter
from producers.sources.names import Names
from workers import clock
from workers.ingest.live import Event
from workers.ingest.readers.errors import SourceError

HEAD = 1024
"""By so many of its first bytes, or as many as were read, a file is known again under whatever name."""

_HEADER = 256 * 1024  # bytes in which a table has its header
_READ_OUT_FOR = 2.0  # seconds for which nothing is taken to have come since a look: whoever takes the events may have been held up
_NUMBERED = re.compile(r"[-._][0-9][-._:TZ0-9]*(?P<packed>\.(?:gz|bz2|xz|zst))?")  # what rotation adds to a name: .1, -20261126, .2.gz

Fate = Literal["here", "moved", "emptied"]


@dataclass(frozen=True)
class Place:
    """How far a file of lines is read.

    Attributes:
        inode: of the file.
        head: a digest of its first `head_bytes` bytes.
        head_bytes: at most `HEAD`.
        offset: bytes that are done.
        line: lines that are done.
        generation: how many files were read before it under the same path.
    """

    inode: int
    head: str
    head_bytes: int
    offset: int
    line: int
    generation: int = 0

    @classmethod
    def of(cls, cursor: str) -> Place | None:
        """Return the place that a cursor names; None for one of another kind of source."""
        try:
            return cls(**json.loads(cursor))
        except (ValueError, TypeError):
            return None

    def is_in(self, path: Path) -> bool:
        """Whether this file holds what was read up to here."""
        try:
            with path.open("rb") as file:
                return os.fstat(file.fileno()).st_size >= self.offset and digest(file.read(self.head_bytes)) == self.head
        except OSError:
            return False

    def rotated(self, path: Path) -> Path | None:
        """Return the file that has this place now, where it is not `path`: renamed, or copied before it was emptied."""
        # A file is read on rather than a copy of it.
        for each, _ in sorted(_beside(path), key=lambda found: (found[1].st_ino != self.inode, found[0].name)):
            if self.is_in(each):
                return each
        return None


@dataclass(frozen=True)
class Rotated:
    """Files beside one that grows which were rotated after a moment, the oldest first.

    Attributes:
        plain: that can be read on.
        packed: that can't.
    """

    plain: tuple[Path, ...]
    packed: tuple[Path, ...]


def rotated_since(path: Path, changed: int, but: int) -> Rotated:
    """Return what was rotated away since an earlier file was finished: several rotations may lie between two looks.

    Args:
        path: of the file that grows.
        changed: when the earlier one was changed last, in nanoseconds.
        but: the inode of a file that is left out, as it is open already.
    """
    newer = sorted((found for found in _beside(path) if found[1].st_mtime_ns > changed), key=lambda found: found[1].st_mtime_ns)
    plain, packed = [], []
    for each, status in newer:
        numbered = _NUMBERED.fullmatch(each.name[len(path.name) :])
        if numbered is None or status.st_ino == but:
            continue
        if not numbered["packed"]:
            plain.append(each)
        elif not each.with_suffix("").exists():  # else it is being packed
            packed.append(each)
    return Rotated(tuple(plain), tuple(packed))


def _beside(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files whose names begin with this one's and are longer."""
    for each in path.parent.glob(f"{_escaped(path.name)}?*"):
        try:
            status = each.stat()
        except OSError:
            continue  # it was rotated on
        if stat.S_ISREG(status.st_mode):
            yield each, status


def _escaped(name: str) -> str:
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def of_generation(event: Event, generation: int) -> Event:
    """Return an event of a file that came after others under the same path: each of them has a line of this number."""
    if event.rejected is None or not generation:
        return event
    return replace(event, rejected=replace(event.rejected, key=f"{event.rejected.key} of file {generation + 1}"))


def digest(head: bytes) -> str:
    """Return the digest by which the beginning of a file is known."""
    return hashlib.sha256(head).hexdigest()[:32]


class GrowingFile:
    """A file that is read line by line, JSON Lines or a table.

    Args:
        path: where it is now.
        source: the name that tweets carry.
        names: how its fields are called.
        encoding: of its text.
        place: up to which it is read already.
        generation: how many files were read before it under the same path, where `place` does not say it.

    Attributes:
        inode: of it.
        generation: as it was given.
        changed_before: when it had been changed last as it was read last, in nanoseconds.

    Raises:
        SourceError: it can't be opened.
    """

    def __init__(
        self, path: Path, source: str, names: Names, encoding: str | None, place: Place | None = None, generation: int = 0
    ) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise SourceError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error
        self._splitter = Splitter(place.offset, place.line) if place else Splitter()
        self.inode = os.fstat(self._descriptor).st_ino
        self.generation = place.generation if place else generation
        self._head = os.pread(self._descriptor, min(HEAD, self._splitter.offset), 0)
        self.changed_before = 0
        self._read_out_at: float | None = None
        self._events = LineEvents(source, names, encoding, self._header() if place and place.offset else ())

    def _header(self) -> list[RawLine]:
        """Return the lines before the place that may say what the file is."""
        before = os.pread(self._descriptor, min(_HEADER, self._splitter.offset), 0)
        return list(Splitter().feed(before))

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    @property
    def changed(self) -> int:
        """When it was changed last, in nanoseconds."""
        return os.fstat(self._descriptor).st_mtime_ns

    @property
    def has_half_line(self) -> bool:
        """Whether the last line has no line end yet."""
        return self._splitter.read_up_to > self._splitter.offset

    @property
    def is_read_out(self) -> bool:
        """Whether a look found nothing that was not read, and was just now."""
        return self._read_out_at is not None and clock.now() - self._read_out_at < _READ_OUT_FOR

    def read(self) -> Iterator[Event] | None:
        """Return the events of the next bytes; None where there are none for now."""
        data = os.pread(self._descriptor, READ_BYTES, self._splitter.read_up_to)
        status = os.fstat(self._descriptor)
        if not data:
            # One that was emptied at this moment ends before what was read, and says nothing of what it held.
            if status.st_size >= self._splitter.read_up_to:
                self._read_out_at, self.changed_before = clock.now(), status.st_mtime_ns
            return None
        self._read_out_at, self.changed_before = None, status.st_mtime_ns
        if len(self._head) < HEAD:
            self._head = os.pread(self._descriptor, min(HEAD, self._splitter.read_up_to + len(data)), 0)
        return self._told(self._events.events(self._splitter.feed(data), self.cursor))

    def finish(self) -> Iterator[Event]:
        """Yield what a last line without a line end holds: nothing more will be written to it."""
        yield from self._told(self._events.events(self._splitter.end(), self.cursor, last=True))

    def _told(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield of_generation(event, self.generation)

    def fate(self, path: Path) -> Fate:
        """Return what became of it, which was at this path: an emptied one may have been filled anew since."""
        beginning = os.pread(self._descriptor, len(self._head), 0)
        if os.fstat(self._descriptor).st_size < self._splitter.read_up_to or beginning != self._head:
            return "emptied"
        try:
            there, ours = path.stat(), os.fstat(self._descriptor)
        except OSError:
            return "here"  # the next one is not there yet
        return "here" if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino) else "moved"

    def cursor(self, offset: int, line: int) -> str:
        """Return the cursor behind so many bytes and lines."""
        known = self._head[: min(HEAD, offset)]
        place = {"inode": self.inode, "head": digest(known), "head_bytes": len(known), "offset": offset, "line": line}
        return json.dumps(place | {"generation": self.generation})

    def place(self) -> Place:
        """Return up to where it was read, a half line and a row with an open quote left out; but it is known again by them too."""
        held = self._events.held
        offset, line = (self._splitter.offset, self._splitter.number) if held is None else (held.start, held.number - 1)
        return Place(self.inode, digest(self._head), len(self._head), offset, line, self.generation)
