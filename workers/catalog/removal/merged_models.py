"""Names whole models that were merged for a server, and removes them: where they lie, who may write one, and which are of no use any more.

Who merges and who removes take turns by a lock a model, so a merge that is under way is left alone. A server that has loaded a model keeps
the open files, whatever happens to their names.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from schemas.tables.models import Model
from workers.settings import get_settings

FOLDER = "merged"
"""In the folder of models."""

_DIGEST = 12  # characters of what tells base and tuned model from what they were before
_MADE = re.compile(rf"([^.].*)-[0-9a-f]{{{_DIGEST}}}")
_BESIDE = (".lock", ".partial", ".removed")


@dataclass(frozen=True)
class Removed:
    """What was removed, or would be.

    Attributes:
        models: how many.
        bytes: that they took.
        busy: names of those that are being merged at this moment, and stay.
    """

    models: int = 0
    bytes: int = 0
    busy: tuple[str, ...] = ()


def place(folder: Path, tuned: Path, digest: str) -> Path:
    """Return where a tuned model is merged to, below `folder`; `digest` tells its state and its base's."""
    return folder / f"{tuned.name}-{digest[:_DIGEST]}"


def aside(made: Path) -> Path:
    """Return where a merged model lies until it is complete."""
    return made.with_name(f".{made.name}.partial")


def lock(made: Path) -> int | None:
    """Take the right to write or remove a merged model; return the open file that holds it, or None where somebody else has it."""
    path = made.with_name(f".{made.name}.lock")
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, opened):
                return opened
        except BlockingIOError:
            os.close(opened)
            return None
        except BaseException:
            os.close(opened)
            raise
        os.close(opened)  # whoever held it has removed the file: others lock the next one


def of_model(tuned: Path) -> list[Path]:
    """Return what a tuned model was merged to on this machine: with each base, and each state of either."""
    return sorted(made for made, name in _found().items() if name == tuned.name)


def of_no_model(session: Session) -> list[Path]:
    """Return the merged models on this machine of which the catalog has no tuned model any more."""
    found = _found()  # first: what is merged from now on is of a model that the catalog may be about to get
    kept = {Path(uri).name for uri in session.exec(select(Model.adapter_uri).where(col(Model.adapter_uri).is_not(None))) if uri}
    return sorted(made for made, name in found.items() if name not in kept)


def remove(merged: Iterable[Path], *, dry_run: bool = False) -> Removed:
    """Remove merged models but those that are being merged; of a dry run count them alone."""
    models, size, busy = 0, 0, []
    for made in merged:
        held = lock(made)
        if held is None:
            busy.append(made.name)
            continue
        try:
            parts = [path for path in (made, aside(made), _doomed(made)) if path.is_dir()]
            models, size = models + bool(parts), size + sum(map(_size, parts))
            if not dry_run:
                _remove(made)
                made.with_name(f".{made.name}.lock").unlink(missing_ok=True)
        finally:
            os.close(held)
    return Removed(models, size, tuple(busy))


def _remove(made: Path) -> None:
    doomed = _doomed(made)
    for path in (made, aside(made)):
        shutil.rmtree(doomed, ignore_errors=True)
        if path.is_dir():
            path.rename(doomed)  # half of a removal must not look like a model
    if doomed.is_dir():
        shutil.rmtree(doomed)


def _doomed(made: Path) -> Path:
    return made.with_name(f".{made.name}.removed")


def _found() -> dict[Path, str]:
    """What lies in the folder, whole or in part, with the names of the tuned models; links and files of others are not ours."""
    folder = get_settings().models_folder / FOLDER
    found = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        name = path.name[1 : -len(path.suffix)] if path.name.startswith(".") and path.suffix in _BESIDE else path.name
        read = _MADE.fullmatch(name)
        if read is not None and not path.is_symlink():
            found[folder / name] = read[1]
    return found


def _is_at(path: Path, opened: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(opened))
    except FileNotFoundError:
        return False


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
