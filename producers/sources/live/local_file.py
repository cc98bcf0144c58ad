"""Reads a file of tweets as a live source: to its end, or on as it grows, through rotations."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from producers.sources.files import name_of, read
from producers.sources.lines import Line
from producers.sources.live.growing_file import HEAD, GrowingFile, Place, digest, of_generation, rotated_since
from producers.sources.live.line_events import event_of
from producers.sources.live.silence import Silence
from workers.ingest.live import Event, Hole
from workers.ingest.readers.containers import check_readable
from workers.ingest.readers.rows import without_packing

if TYPE_CHECKING:
    from producers.sources.live.registry import LiveOptions

_LONGEST_END = 4  # bytes of a line end
_LINGER = 1.0  # seconds of silence after which nothing more is expected in a file that was renamed


class LocalFile:
    """The tweets of a file: in any form that `tweetmill ingest` reads, or with `follow` as JSON Lines or CSV that grow.

    Args:
        address: its path.
        options: as `producers.sources.live.registry` has them.

    Raises:
        SourceError: there is no such file.
    """

    waits = True

    def __init__(self, address: str, options: LiveOptions) -> None:
        check_readable(address)
        # However it was typed, it is the same file.
        self._path, self._options = Path(os.path.abspath(address)), options  # noqa: PTH100 - symbolic links stay
        self.origin = str(self._path)
        self._name = options.name or name_of(address)

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is a path: any may be one."""
        del address
        return True

    def events(self, cursor: str | None, idle_seconds: float = 1.0) -> Iterator[Event | None]:
        """Yield what the file holds behind the cursor; without `follow` up to its end."""
        return self._followed(cursor, idle_seconds) if self._options.follow else whole(self._path, self._name, self._options, cursor)

    def _followed(self, cursor: str | None, idle_seconds: float) -> Iterator[Event | None]:
        place = Place.of(cursor) if cursor else None
        generation = place.generation if place else 0
        changed: int | None = None  # the last file that was finished
        if place is not None and not place.is_in(self._path):
            generation += 1
            changed = yield from self._rest(place)
            place = None
        while True:
            file = self._open(self._path, place, generation)
            try:
                if changed is not None:
                    file.generation = yield from self._between(changed, file.inode, generation)
                yield from self._until_rotated(file, idle_seconds)
                emptied = file.fate(self._path) == "emptied"
                # What a half line began stands whole in the copy.
                copy = file.place().rotated(self._path) if emptied else None
                if copy is None:
                    yield from file.finish()
                    changed = None if emptied else file.changed
                if emptied and copy is None and not file.is_read_out:
                    yield self._emptied(file)
            finally:
                file.close()
            if copy is not None:
                changed = yield from self._finished(self._open(copy, file.place()))
            place, generation = None, file.generation + 1

    def _open(self, path: Path, place: Place | None, generation: int = 0) -> GrowingFile:
        return GrowingFile(path, self._name, self._options.names, self._options.encoding, place, generation)

    def _rest(self, place: Place) -> Generator[Event, None, int | None]:
        """Yield what was not read yet of a file that was rotated meanwhile, or a hole where it can't be found.

        Returns:
            When that file was changed last, in nanoseconds; None where it is not found.
        """
        rotated = place.rotated(self._path)
        if rotated is not None:
            return (yield from self._finished(self._open(rotated, place)))
        reason = (
            f"{self._path} is another file than the one that was read up to line {place.line}, which is not found beside it: "
            "what was written there since is missed"
        )
        yield Event(_beginning(place.generation + 1), hole=Hole(None, None, reason))
        return None

    def _between(self, changed: int, following: int, generation: int) -> Generator[Event, None, int]:
        """Yield what files hold that were rotated since one was finished and are not the following one; a hole for each that is packed.

        Returns:
            The generation of the following one; `generation` is that of the first file behind the finished one.
        """
        rotated = rotated_since(self._path, changed, following)
        with ExitStack() as closing:
            opened = []
            for number, each in enumerate(rotated.plain, generation):  # all at once: the next rotation gives them other names
                opened.append(self._open(each, None, number))
                closing.callback(opened[-1].close)
            for file in opened:
                yield from self._read_out(file)
        generation += len(rotated.plain)
        for each in rotated.packed:
            reason = f"{each} was packed before it was read: what it holds is missed; a stream of that file alone reads it"
            yield Event(_beginning(generation), hole=Hole(None, None, reason))
        return generation

    def _emptied(self, file: GrowingFile) -> Event:
        """Return the hole of a file that was emptied before anybody saw that it was read to its end, and of which no copy is found."""
        # A copy may have got the very time of the file.
        packed = rotated_since(self._path, file.changed_before - 1, file.inode).packed
        reason = (
            f"{self._path} was emptied when it had been read up to line {file.place().line}, and no copy that is not packed is found "
            "beside it: what was written behind that line, if anything, is missed"
        )
        reason += "".join(f"; {each} was packed since, a stream of that file alone reads it" for each in packed)
        return Event(_beginning(file.generation + 1), hole=Hole(None, None, reason))

    def _finished(self, file: GrowingFile) -> Generator[Event, None, int]:
        """Yield the rest of a file, and close it; return when it was changed last, in nanoseconds."""
        try:
            yield from self._read_out(file)
            return file.changed
        finally:
            file.close()

    @staticmethod
    def _read_out(file: GrowingFile) -> Iterator[Event]:
        while (found := file.read()) is not None:
            yield from found
        yield from file.finish()

    def _until_rotated(self, file: GrowingFile, idle_seconds: float) -> Iterator[Event | None]:
        """Yield what is written to a file until it was renamed or emptied and nothing more comes."""
        silence = Silence(idle_seconds)
        while True:
            fate = file.fate(self._path)
            found = None if fate == "emptied" else file.read()
            if found is not None:
                silence.broken()
                yield from found
            elif fate == "emptied" or (fate == "moved" and silence.seconds >= _LINGER):
                return
            elif silence.wait():
                yield None


def _beginning(generation: int) -> str:
    """Return the cursor before the first byte of whichever file is there."""
    return json.dumps({"inode": 0, "head": digest(b""), "head_bytes": 0, "offset": 0, "line": 0, "generation": generation})


def whole(path: Path, name: str, options: LiveOptions, cursor: str | None) -> Iterator[Event]:
    """Yield what a file holds, in any form that `tweetmill ingest` reads, behind a cursor.

    Args:
        path: where it is.
        name: the source's name that tweets carry.
        options: how it is read.
        cursor: of an earlier reading; left out of account where this is another file.

    Raises:
        SourceError: it can't be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
        size = os.fstat(file.fileno()).st_size

    done, generation = _done(cursor, head)

    def cursor_at(line: int) -> str:
        return json.dumps({"head": digest(head), "head_bytes": len(head), "line": line, "generation": generation})

    waiting: Line | None = None
    for line in read(path, name, done, None, options.names, options.encoding):
        if waiting is not None:
            # More of the next line may follow: it is read again.
            yield of_generation(event_of(waiting, cursor_at(line.number - 1)), generation)
        waiting = line
    if waiting is not None:
        # A line that its writer has not ended may be whole the next time.
        again = waiting.rejected is not None and _is_half(waiting, path, size)
        yield of_generation(event_of(waiting, cursor_at(waiting.number - again)), generation)


def _is_half(last: Line, path: Path, size: int) -> bool:
    """Whether the last row of a file may not be whole yet: it has no line end, or the file is not as long as before it was read."""
    if last.unit == "row" or without_packing(path) != path.name:
        return False
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(-min(length, _LONGEST_END), os.SEEK_END)
        end = file.read().replace(b"\0", b"")[-1:]  # of UTF-16 and UTF-32 too
    return length != size or end not in (b"\r", b"\n", *((b"]", b";") if last.unit == "item" else ()))


def _done(cursor: str | None, head: bytes) -> tuple[int, int]:
    """Return how many lines of a file that begins so are done, and how many other files were read before it under its path."""
    try:
        known = json.loads(cursor or "{}")
        generation = int(known.get("generation", 0))
        return (int(known["line"]), generation) if digest(head[: known["head_bytes"]]) == known["head"] else (0, generation + 1)
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0, 0
