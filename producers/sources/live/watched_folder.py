"""Reads the files that come into a folder, in the order of their names, each once."""

from __future__ import annotations

import json
import os
import time
from bisect import bisect_right
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from producers.sources.live.growing_file import GrowingFile, Place
from producers.sources.live.local_file import whole
from producers.sources.live.pauses import Pauses
from producers.sources.live.silence import Silence
from workers import clock
from workers.ingest.live import Event, Unusable
from workers.ingest.readers.errors import SourceError
from workers.ingest.readers.rows import KINDS, ending, without_packing

if TYPE_CHECKING:
    from producers.sources.live.registry import LiveOptions

_UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".swp", "~")
"""Endings of files that are still being written: they are read once they are renamed."""

_OF_LINES = (".jsonl", ".ndjson", ".csv", ".tsv", ".tab")
_WRITTEN = (*KINDS, ".parquet")  # what an empty file with such an ending, or a packed one, will be is still to be written
_SETTLED = 2.0  # seconds without a change after which a file that is not read by lines is whole, and an empty one of no such ending a mark
_EMPTY_FOR = 60.0  # seconds without a change after which later files no longer wait for an empty one
_WATCHED = 100  # so many files behind one that is waited for are watched meanwhile, lest each begin to settle when it is its turn
_GIVEN_UP = 60.0  # seconds without a change after which a last line without an end is taken as it is, where later files wait
_LOOK, _LONGEST_LOOK = 0.1, 1.0  # seconds between two looks into the folder, ever more while nothing comes
_COST = 20  # a pause is so many times as long as the look before it: a folder may hold a hundred thousand files
_LATE = "file whose name sorts before one that was read"


class WatchedFolder:
    """The tweets of the files in a folder.

    Files of lines are read on until a later one is there and their last line is whole. Others, such as Parquet or packed ones, are read
    when they have not changed for two seconds; until then later ones wait, as they do a minute at most for an empty one, and two seconds
    for one whose name does not say that it holds tweets. A file that comes late, with a name that sorts before one that was read, is
    counted and left out: write names that grow.

    Args:
        address: its path.
        options: as `producers.sources.live.registry` has them.
    """

    waits = True

    def __init__(self, address: str, options: LiveOptions) -> None:
        self._folder, self._options = Path(os.path.abspath(address)), options  # noqa: PTH100 - symbolic links stay
        self.origin = str(self._folder)
        self._name = options.name or self._folder.resolve().name
        self._accounted: set[str] = set()
        self._known: list[str] = []
        self._is_new_look = False
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}  # size and time of change of what is waited for, and since when
        self._pauses, self._look_at = Pauses(_LOOK, _LONGEST_LOOK, chance=(1.0, 1.0)), 0.0
        self._cursor = _cursor("", None)

    @staticmethod
    def takes(address: str) -> bool:
        """Whether an address is a folder."""
        return Path(address).is_dir()

    def events(self, cursor: str | None, idle_seconds: float = 1.0) -> Iterator[Event | None]:
        """Yield what the files hold behind the cursor, and wait for more."""
        file, inner = _parts(cursor)
        self._cursor = _cursor(file, inner)
        self._accounted = {name for name in self._names() if name <= file}
        silence = Silence(idle_seconds)
        while True:
            if (self._folder / file).is_file():
                yield from self._of_file(file, inner, silence)
            while (following := self._next(file)) is None:
                if silence.wait():
                    yield from self._late(file)
                    yield None
            file, inner = following, None
            self._accounted.add(file)

    def _of_file(self, name: str, inner: str | None, silence: Silence) -> Iterator[Event | None]:
        found = self._lines(name, inner, silence) if _is_of_lines(name) else whole(self._folder / name, self._name, self._options, inner)
        try:
            for event in found:
                if event is None:
                    yield from self._late(name)
                    yield None
                    continue
                self._cursor = _cursor(name, event.cursor)
                # Each file has a first line.
                rejected = event.rejected and replace(event.rejected, key=f"{name} {event.rejected.key}")
                yield replace(event, cursor=self._cursor, rejected=rejected)
        except (SourceError, OSError) as error:
            # It costs itself, and not the files behind it.
            reason = f"the file can't be read ({error.strerror})" if isinstance(error, OSError) else str(error)
            yield Event(self._cursor, rejected=Unusable(name, None, reason))

    def _lines(self, name: str, inner: str | None, silence: Silence) -> Generator[Event | None]:
        """Yield the lines of a file until a later one is there."""
        path = self._folder / name
        place, generation = Place.of(inner) if inner else None, 0
        if place is not None and not place.is_in(path):
            generation = place.generation + 1
            place = None  # another one has its name now
        file = GrowingFile(path, self._name, self._options.names, self._options.encoding, place, generation)
        silence.broken()
        try:
            while True:
                if (found := file.read()) is not None:
                    silence.broken()
                    self._pauses.reset()
                    yield from found
                elif self._next(name) is not None and (not file.has_half_line or silence.seconds >= _GIVEN_UP):
                    yield from file.finish()
                    return
                elif silence.wait():
                    yield None
        finally:
            file.close()

    def _late(self, file: str) -> Iterator[Event]:
        """Yield a notice for each file that came too late, once. It may still grow, and is late all the same."""
        if not self._is_new_look:
            return
        self._is_new_look = False
        for name in self._known[: bisect_right(self._known, file)]:
            if name not in self._accounted and self._holds_something(name):
                self._accounted.add(name)
                yield Event(self._cursor, notice=_LATE)

    def _next(self, file: str) -> str | None:
        """Return the first file behind this one that can be read; None where there is none, or it is not yet time to look again."""
        began = clock.now()
        if began < self._look_at:
            return None
        self._known, self._is_new_look = sorted(self._names()), True
        found = self._first_ready(file)
        if found is not None:
            self._pauses.reset()
            self._look_at = 0.0
        else:
            ended = clock.now()
            self._look_at = ended + max(self._pauses.next(), _COST * (ended - began))
        return found

    def _names(self) -> list[str]:
        with os.scandir(self._folder) as entries:
            names = [each.name for each in entries if each.is_file()]
        return [name for name in names if not name.startswith(".") and not name.endswith(_UNFINISHED)]

    def _first_ready(self, file: str) -> str | None:
        """Return the first file behind this one, where it can be read: those behind one that is still being written wait for it."""
        behind = self._known[bisect_right(self._known, file) :]
        self._seen = {name: self._seen[name] for name in set(self._seen).intersection(behind)}
        for place, name in enumerate(behind, 1):
            readiness = self._readiness(name)
            if readiness == "settling":
                for waiting in behind[place : place + _WATCHED]:
                    self._readiness(waiting)
                return None
            if readiness == "ready":
                return name
        return None

    def _readiness(self, name: str) -> Literal["ready", "settling", "nothing"]:
        """Say whether a file can be read, will be when it has not changed for a while, or is none or stays empty."""
        try:
            found = (self._folder / name).stat()
        except OSError:
            return "nothing"  # it was taken away again
        if found.st_size > 0:
            return "ready" if _is_of_lines(name) or self._is_unchanged(name, found, _SETTLED) else "settling"
        return "nothing" if self._is_unchanged(name, found, _EMPTY_FOR if _will_hold_tweets(name) else _SETTLED) else "settling"

    def _is_unchanged(self, name: str, found: os.stat_result, seconds: float) -> bool:
        """Whether a file has not changed for so long, by its time or by how long it was seen so."""
        if time.time() - found.st_mtime >= seconds:
            return True
        # The time of its change may lie in the future, by another machine's clock.
        state = found.st_size, found.st_mtime_ns
        before, since = self._seen.get(name, (None, 0.0))
        if before != state:
            since = clock.now()
            self._seen[name] = state, since
        return clock.now() - since >= seconds

    def _holds_something(self, name: str) -> bool:
        try:
            return (self._folder / name).stat().st_size > 0
        except OSError:
            return False  # it was taken away again


def _is_of_lines(name: str) -> bool:
    return without_packing(name) == name and ending(name) in _OF_LINES


def _will_hold_tweets(name: str) -> bool:
    """Whether a file that is empty yet is no mark beside another, such as its `.done`."""
    return ending(name) in _WRITTEN or without_packing(name) != name


def _parts(cursor: str | None) -> tuple[str, str | None]:
    """Return the file that was read last, and how far."""
    try:
        known = json.loads(cursor or "{}")
        return str(known["file"]), known["at"]
    except (ValueError, KeyError, TypeError):
        return "", None


def _cursor(file: str, inner: str | None) -> str:
    return json.dumps({"file": file, "at": inner})
