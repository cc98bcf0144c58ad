"""Says in a sentence that a disk is full: each library tells it in a way of its own."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from workers.errors import TweetmillError, UserError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_OF_NUMPY = re.compile(r"\d+ requested and \d+ written")
_OF_RUST = re.compile(rf"\(os error ({'|'.join(str(number) for number in sorted(_FULL))})\)")


class NoRoom(UserError):
    """The file does not fit on the disk."""


def is_full(error: Exception) -> bool:
    """Return whether the disk is full, or somebody's share of it."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    # numpy tells no number, and safetensors and tokenizers raise no OSError.
    return bool(_OF_NUMPY.fullmatch(str(error)) if isinstance(error, OSError) else _OF_RUST.search(str(error)))


@contextmanager
def told() -> Iterator[None]:
    """Turn what libraries raise where a disk is full into one sentence.

    Raises:
        NoRoom: the disk is full.
    """
    try:
        yield
    except TweetmillError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise NoRoom(
            "the disk is full: the export's files do not fit there, or those that its check needs meanwhile."
            " Make room on it, or name a folder on another disk with -o"
        ) from error
