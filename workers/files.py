"""Write files and folders whole or not at all, and compute SHA-256 digests: one definition of each.

A file is written beside its place and renamed to it, so that a reader sees the old content or the new, and a killed writer leaves the
old. It imports nothing of ours.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path, *, mode: int = 0o666, sync: bool = False) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the block has ended well; else nothing changes.

    The file is made new (`O_EXCL`), never through what somebody else laid there; a symbolic link at `path` is itself replaced.

    Args:
        path: in a folder that exists.
        mode: of the file, less what the umask takes.
        sync: wait until the content is safe on disk before the rename.

    Raises:
        OSError: the file can't be written or renamed.
    """
    # Not made of the name: that may be as long as a name can be.
    aside = path.with_name(f".tweetmill.{secrets.token_hex(6)}.part")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as out:
            yield out
            out.flush()
            if sync:
                os.fsync(out.fileno())
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, mode: int = 0o666, sync: bool = False) -> None:
    """Replace a file by `content`: see `atomic_write`."""
    with atomic_write(path, mode=mode, sync=sync) as out:
        out.write(content)


def write_text(path: Path, content: str, *, mode: int = 0o666, sync: bool = False) -> None:
    """Replace a file by `content` in UTF-8: see `atomic_write`."""
    write_bytes(path, content.encode(), mode=mode, sync=sync)


@contextmanager
def atomic_folder(folder: Path, aside: Path, *, replace: bool = False, sync: bool = False) -> Iterator[Path]:
    """Yield `aside`, to be made and filled by the block; it is renamed to `folder` when the block has ended well.

    Args:
        folder: is not there, or is empty; see `replace`.
        aside: beside it. What lies there is removed first, and again when the block fails.
        replace: remove a folder that is there, just before the rename.
        sync: wait until the files and both folders' names are safe on disk.

    Raises:
        OSError: a folder can't be renamed or a file not be synced.
    """
    shutil.rmtree(aside, ignore_errors=True)
    try:
        yield aside
        if sync:
            for path in (*aside.iterdir(), aside):
                sync_to_disk(path)
        if replace:
            shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    if sync:
        sync_to_disk(folder.parent)


class HashingFile:
    """Writes to a file, and counts and digests what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0

    def write(self, content: bytes | memoryview, /) -> None:
        """Append `content`."""
        self._file.write(content)
        self._digest.update(content)
        self.bytes += len(content)

    @property
    def sha256(self) -> str:
        """The SHA-256 of all that was written, in hexadecimal."""
        return self._digest.hexdigest()


def sync_to_disk(path: Path) -> None:
    """Wait until a file or the names in a folder are safe on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(content: bytes | str) -> str:
    """Return the SHA-256 of bytes, or of a text in UTF-8, in hexadecimal."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; it is read in constant memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
