"""Choose the user that Postgres runs as: whoever starts it or, where that is root, an id of its own that no account has."""

from __future__ import annotations

import contextlib
import os
import pwd
from pathlib import Path

from workers.errors import SettingsError
from workers.files import sha256

# Ranges of ids that no distribution and no container gives away: the first is free by systemd's list, the second for small maps of ids.
_RANGES = ((1879048192, 2147483647), (60578, 61184))


def owner_of(data: Path) -> int | None:
    """Return the id that the server of this data folder runs as when root starts it; None: the caller's own.

    Raises:
        SettingsError: no id is free.
    """
    if os.geteuid() != 0:
        return None
    if data.exists():
        owner = data.lstat().st_uid
        if owner != 0 and not _has_account(owner):
            return owner
    seed = int(sha256(os.fsencode(data))[:16], 16)
    taken = _in_use()
    for first, end in _RANGES:
        if _is_mapped(first) and _is_mapped(end - 1):
            for step in range(100):
                candidate = first + (seed + step) % (end - first)
                if candidate not in taken and not _has_account(candidate):
                    return candidate
    raise SettingsError(
        "no user id is free that Postgres could run as, and it refuses to be root: run as another user, or set DATABASE_URL"
    )


def idle_account() -> int:
    """Return the id of an account as which nobody runs anything now: `initdb` wants one that has a name, for the moment that it takes.

    Raises:
        SettingsError: there is none.
    """
    taken = _in_use()
    idle = [entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid and entry.pw_uid not in taken and _is_mapped(entry.pw_uid)]
    if not idle:
        raise SettingsError("every account of this machine is in use, and Postgres can't be made by root: run as another user")
    return min(idle)


def give(tree: Path, user: int | None) -> None:
    """Have a folder and all in it belong to a user; None: leave it. The folder itself comes last, so that a torn run is repeated."""
    if user is None or (tree.lstat().st_uid, tree.lstat().st_gid) == (user, user):
        return
    for folder, folders, files in os.walk(tree, topdown=False):
        for name in (*files, *folders):
            os.lchown(Path(folder) / name, user, user)
    os.lchown(tree, user, user)


def _has_account(user: int) -> bool:
    try:
        pwd.getpwuid(user)
    except KeyError:
        return False
    return True


def _in_use() -> set[int]:
    """Return the ids that live processes have, whether in effect or to fall back to."""
    found: set[int] = set()
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            found.update(int(word) for word in status.read_text().partition("\nUid:")[2].partition("\n")[0].split())
    return found


def _is_mapped(user: int) -> bool:
    """Return whether this id exists here: a container may have a part of them alone."""
    try:
        lines = [[int(word) for word in line.split()] for line in Path("/proc/self/uid_map").read_text().splitlines()]
    except (OSError, ValueError):
        return True
    return any(first <= user < first + count for first, _, count in lines)
