"""The cursor of a file: where an interrupted ingest goes on, if the file is still the same."""

from __future__ import annotations

import hashlib
import os
import weakref
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, func, text
from sqlmodel import col, update

from schemas.tables.tweets import SourceCursor
from workers import database

_UPSERT = """
INSERT INTO source_cursor (source, fingerprint, position) VALUES (:file, :fingerprint, :position)
ON CONFLICT (source) DO UPDATE SET fingerprint = excluded.fingerprint, position = excluded.position, updated_at = now()
"""
_CHUNK = 2**20  # bytes
# How much of a file is hashed where it is not known how far it was read.
_BEGINNING = 64 * 1024


class FileCursor:
    """The lines of a file that are done, kept with the SHA-256 of all the bytes that were read for them.

    So another file under the same name is read anew, however alike they begin; one to which something was added, or whose rest has come
    by now, is gone on with.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, str(path.resolve())
        self._descriptor: int | None = None
        self._hashed, self._digest = 0, hashlib.sha256()

    def watch(self, raw: BinaryIO) -> None:
        """Remember the open file. A descriptor of our own still says how far it was read when an error has closed it."""
        self._descriptor = os.dup(raw.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def position(self) -> int:
        """Return the lines that are done: 0 unless an ingest of this file was interrupted, and what it read is still there."""
        with database.session() as session:
            found = session.get(SourceCursor, self._file)
        if found is None or not found.position:
            return 0
        length, _, digest = found.fingerprint.partition(" ")
        with self._path.open("rb") as file:
            same = length.isdecimal() and self._hash(file.fileno(), int(length)) and self._digest.hexdigest() == digest
        self._hashed, self._digest = 0, hashlib.sha256()
        return found.position if same else 0

    def advance(self, connection: Connection, position: int) -> None:
        """Store, in the transaction that stores the rows, that this many lines are done."""
        if self._descriptor is not None:
            self._hash(self._descriptor, self.bytes_read())
        else:
            with self._path.open("rb") as file:
                self._hash(file.fileno(), _BEGINNING)
        values = {"file": self._file, "fingerprint": f"{self._hashed} {self._digest.hexdigest()}", "position": position}
        connection.execute(text(_UPSERT), values)

    def reset(self) -> None:
        """Go back to the beginning: the file was read to its end, and reading it again must look at every line."""
        with database.session() as session:
            session.exec(update(SourceCursor).where(col(SourceCursor.source) == self._file).values(position=0, updated_at=func.now()))

    def bytes_read(self) -> int:
        """Return how far the file was read; 0 before it was opened."""
        return 0 if self._descriptor is None else os.lseek(self._descriptor, 0, os.SEEK_CUR)

    def _hash(self, descriptor: int, end: int) -> bool:
        """Hash the bytes up to `end` that are not hashed yet; False where the file ends before."""
        while self._hashed < end:
            part = os.pread(descriptor, min(_CHUNK, end - self._hashed), self._hashed)
            if not part:
                return False
            self._digest.update(part)
            self._hashed += len(part)
        return True
