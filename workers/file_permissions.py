"""Make folders and files for their owner alone, whatever the umask is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from workers import files

FOLDER, FILE = 0o700, 0o600
UMASK = 0o077


def make_private(folder: Path) -> Path:
    """Make a folder, and those above it that are missing, for their owner alone; one that is there stays as it is."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=FOLDER, exist_ok=True)
        folder.chmod(FOLDER)  # a umask may take from the owner, too
    return folder


def write_private(path: Path, text: str) -> None:
    """Replace a file, readable for its owner alone; no reader sees half of it."""
    files.write_text(path, text, mode=FILE)


def discard(file: Path) -> None:
    """Remove a file, or leave it where that can't be done."""
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return


def close_to_others(folder: Path) -> None:
    """Take all rights to a folder and what is in it from everybody but its owner.

    What is linked to, on another device, or somebody else's is left alone.
    """
    device = folder.lstat().st_dev
    pending = [folder]
    while pending:
        path = pending.pop()
        try:
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode) or found.st_dev != device or found.st_uid != os.geteuid():
                continue
            if found.st_mode & 0o077 and (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                path.chmod(stat.S_IMODE(found.st_mode) & FOLDER)
            if stat.S_ISDIR(found.st_mode):
                pending += [Path(entry.path) for entry in os.scandir(path)]
        except OSError:  # a process of the home is at work, or the file system knows no modes
            continue
