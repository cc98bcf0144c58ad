"""The leash: until when the ranks may run without a word from the worker that started them.

A worker may freeze, or lose Postgres, while its ranks run on; its lease ends, and somebody else takes the job. So the worker says in a
file until when its lease surely holds, and says it anew after each renewal. The supervisor ends the ranks when that moment has
passed, and rank 0 looks as well. The moment is one of `workers.clock`, which all processes of a machine share.
"""

from __future__ import annotations

from pathlib import Path

from workers import clock


def lengthen(file: Path, until: float) -> None:
    """Let the ranks run until the moment `until`, as `clock.now` counts. A reader sees the old moment or the new one."""
    beside = file.with_name(f".{file.name}")
    beside.write_text(repr(until))
    beside.replace(file)


def is_over(file: Path) -> bool:
    """Whether the ranks must end. Without a file they are on no leash."""
    try:
        return clock.now() > float(file.read_text())
    except (FileNotFoundError, ValueError):
        return False
