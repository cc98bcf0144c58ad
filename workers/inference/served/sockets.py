"""Says where a worker's supervisor and its servers listen: Unix sockets in a folder that their owner alone can enter."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

from workers.errors import SettingsError
from workers.file_permissions import make_private
from workers.files import sha256
from workers.processes import is_running

CONTROL = "control.sock"

_LONGEST_FOLDER = 80  # bytes, so that a name fits behind it in the 107 that the kernel allows
_PREFIX = "served-"


def folder_of(home: Path, worker: int) -> Path:
    """Return the folder of the worker with this process id: in `run` of its home, or where that is too long for a socket in `/tmp`."""
    folder = home / "run" / f"{_PREFIX}{worker}"
    if len(os.fsencode(folder)) <= _LONGEST_FOLDER:
        return folder
    digest = sha256(os.fsencode(home))[:12]
    return Path(tempfile.gettempdir()) / f"tweetmill-{os.geteuid()}-{digest}-{_PREFIX}{worker}"


def prepare(home: Path, worker: int) -> Path:
    """Make the folder, empty, and remove those of workers that are gone.

    Raises:
        SettingsError: somebody else has a folder of that name.
    """
    folder = folder_of(home, worker)
    for other in folder.parent.glob(folder.name.removesuffix(str(worker)) + "*"):
        number = other.name.rpartition("-")[2]
        if other == folder or (number.isdecimal() and not is_running(int(number))):
            discard(other)
    make_private(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise SettingsError(f"{folder} belongs to somebody else: set TWEETMILL_HOME to a shorter path than {home}")
    return folder


def discard(folder: Path) -> None:
    """Remove a folder of sockets with what is in it, or leave it where that can't be done."""
    shutil.rmtree(folder, ignore_errors=True)
