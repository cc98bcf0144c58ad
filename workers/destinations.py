"""Check and write the files that a user names, such as `-o FILE`: each is whole or as it was before.

A regular file is replaced at once, see `workers.files`. What is no file, such as a device or a pipe, is written to as it is; behind a
symbolic link the file that it leads to is replaced, and the link stays.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from workers import files
from workers.errors import SettingsError, UserError

# What a write or a rename says when the disk or the quota ends, or the device is gone.
_TAKES_NO_MORE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV}


class DestinationError(SettingsError):
    """Nothing can be written to this path."""


def check(path: Path, inputs: Iterable[Path | None] = ()) -> None:
    """Refuse, before any work is done, a path that could not be written to.

    Args:
        path: where something is to go; nothing is made there.
        inputs: files that are read for it.

    Raises:
        DestinationError: it is a folder, its own folder is missing, a right is missing, or it is one of the inputs.
    """
    there = _stat(path)
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise DestinationError(f"{path} is a folder: name a file in it")
    if _is_special(path, there):
        if not os.access(path, os.W_OK):
            raise DestinationError(f"{path}: you have no right to write to it")
        return
    for read in inputs:
        if there is not None and read is not None and _same(there, read):
            raise DestinationError(f"{path} is what is read: name another file to write")
    target = _target(path)
    if target.parent.exists() and not target.parent.is_dir():
        raise DestinationError(f"{path}: {target.parent} is no folder")
    if not target.parent.is_dir():
        raise DestinationError(f"{path}: there is no such folder to write into; make {target.parent} first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise DestinationError(f"{path}: you have no right to write into {target.parent}")
    if there is not None and not os.access(target, os.W_OK):
        raise DestinationError(f"{path}: the file is there, and you have no right to change it")


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file to write to; what was there stays as it was until the block has ended well.

    A file that is replaced hands on its mode and, where this process may do so, its owner.

    Raises:
        DestinationError: as `check`.
        UserError: the disk is full, or the device takes no more.
    """
    check(path)
    try:
        if _is_special(path, there := _stat(path)):
            # Not emptied: behind /dev/stdout may be a file that others append to.
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as out:
                yield out
            return
        with files.atomic_write(_target(path), sync=True) as out:
            if there is not None:
                _inherit(out.fileno(), there)
            yield out
    except OSError as error:
        if error.errno in _TAKES_NO_MORE:
            raise UserError(f"{path} could not be written ({error.strerror}); what was there before is unchanged") from None
        raise


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open a text file to write to, in UTF-8 and with line ends as they are written: see `open_binary`."""
    with open_binary(path) as out:
        text = io.TextIOWrapper(out, encoding="utf-8", errors="backslashreplace", newline="")
        try:
            yield text
            text.flush()
        finally:
            # `open_binary` closes the file; what a full disk did not take must not be tried once more by the wrapper.
            with contextlib.suppress(OSError, ValueError):
                text.detach()


def write_destination(path: Path, content: str) -> None:
    """Replace a file by a text: see `open_binary`."""
    with open_text(path) as out:
        out.write(content)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DestinationError(f"{str(path)[:200]}: nothing can be written there ({error.strerror})") from None
    except ValueError:
        raise DestinationError("a path holds no NUL character") from None


def _is_special(path: Path, there: os.stat_result | None) -> bool:
    """Return whether it must be written to as it is: a device or a pipe, and what the system shows of open files, such as /dev/stdout."""
    if there is None or not stat.S_ISREG(there.st_mode):
        return there is not None
    named = os.path.abspath(path)  # noqa: PTH100 - resolving would follow the link
    return named in ("/dev/stdout", "/dev/stderr") or named.startswith(("/dev/fd/", "/proc/"))


def _same(there: os.stat_result, other: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        return os.path.samestat(there, other.stat())
    return False


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _inherit(descriptor: int, old: os.stat_result) -> None:
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
