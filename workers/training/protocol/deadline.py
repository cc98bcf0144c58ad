"""The deadline of a run: until when its ranks may run without a word from the worker that started them.

A worker may freeze, or lose Postgres, while its ranks run on; its lease ends, and another worker takes the job. So the worker writes to
a file until when its lease surely holds, and writes it anew after each renewal. The supervisor ends the ranks once that moment has
passed, and rank 0 looks as well. The moment is one of `workers.clock`, which all processes of a machine share.
"""

from __future__ import annotations

from pathlib import Path

from workers import clock, files


def extend(file: Path, until: float) -> None:
    """Let the ranks run until `until`, a moment of `clock.now`. A reader sees the old deadline or the new one."""
    files.write_text(file, repr(until))


def has_passed(file: Path) -> bool:
    """Return whether the ranks must end. Without a file there is no deadline."""
    try:
        return clock.now() > float(file.read_text())
    except (FileNotFoundError, ValueError):
        return False
