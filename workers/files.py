"""Files that a person asked for, written so that they are whole or as they were before.

A file is written beside its place and renamed to it. What is no file, such as a device or a pipe, is written to as it is; behind a
symbolic link the file that it leads to is replaced, and the link stays.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from workers.errors import SettingsError, UserError

# What a write or a rename says when the disk or the quota ends, or the device is gone.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV}


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
def written(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to; what was there stays as it was until the block has ended well.

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
        target = _target(path)
        aside = target.with_name(f".tweetmill.{secrets.token_hex(6)}.part")
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as out:
                if there is not None:
                    _inherit(out.fileno(), there)
                yield out
                out.flush()
                os.fsync(out.fileno())
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise UserError(f"{path} could not be written ({error.strerror}); what was there before is unchanged") from None
        raise


@contextmanager
def written_text(path: Path) -> Iterator[TextIO]:
    """The same for text, in UTF-8 and with line ends as they are written."""
    with written(path) as out:
        text = io.TextIOWrapper(out, encoding="utf-8", errors="backslashreplace", newline="")
        try:
            yield text
            text.flush()
        finally:
            # `written` closes the file; what a full disk did not take must not be tried once more by the wrapper.
            with contextlib.suppress(OSError, ValueError):
                text.detach()


def write_text(path: Path, content: str) -> None:
    """Write a whole text: see `written`."""
    with written_text(path) as out:
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
    """Whether it must be written to as it is: a device or a pipe, and what the system shows of open files, such as /dev/stdout."""
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
