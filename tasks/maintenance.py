"""Maintenance: a task that shows that a worker answers, and what a producer cleans on its own machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from workers.app import app

if TYPE_CHECKING:
    from workers.training.run_files import Cleaned


def clean_run_folders() -> Cleaned:
    """Remove from this machine's folder of runs what may hold forgotten tweets; a worker does so by itself, see `workers.app`."""
    from workers.training import run_files

    return run_files.clean()


def remove_run_folders(jobs: Iterable[UUID]) -> None:
    """Remove the folders of trainings that are gone, where they are on this machine."""
    from workers.training import run_files

    for job in jobs:
        run_files.remove(job)


@app.task(name="upkeep.ping")  # type: ignore[untyped-decorator]
def ping() -> None:
    """Do nothing: that it ran is the answer."""
