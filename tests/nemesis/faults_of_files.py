"""Faults of the disk that trainings write to."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from tests.nemesis.cluster import Cluster
from tests.nemesis.faults import Struck, fault, tell
from tests.nemesis.schedule import Strike

_NEWEST = """
SELECT checkpoint.job, checkpoint.step, checkpoint.attempt, checkpoint.folder FROM checkpoint JOIN job ON job.id = checkpoint.job
WHERE checkpoint.removed_at IS NULL AND job.state IN ('queued', 'running') ORDER BY checkpoint.id DESC LIMIT 2
"""


@fault("disk", (5.0, 10.0))
def fill_disk(cluster: Cluster, strike: Strike) -> Struck | None:
    """The disk with the runs is full."""
    if not cluster.small_disk:
        return None
    filler = cluster.runs / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65_536)
    return Struck("runs", lambda: filler.unlink(missing_ok=True))


@fault("disk")
def break_checkpoint(cluster: Cluster, strike: Strike) -> Struck | None:
    """The newest checkpoint of a training loses a file's end, or one of its bits, and the training is killed."""
    newest = cluster.sql(_NEWEST)
    # Mostly when there is another to go on from.
    if len(newest) < (1 if strike.draw % 4 == 0 else 2):
        return None
    row = newest[0]
    folder = cluster.runs / str(row.job) / row.folder
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.name)
    if not files:
        return None
    victim = files[strike.draw % len(files)]
    how = _truncate if strike.draw // 7 % 2 else _flip_a_bit
    how(victim, strike.draw)
    for supervisor in cluster.found("supervisor"):
        tell(supervisor.pid, signal.SIGKILL)
    details = {"job": str(row.job), "step": row.step, "attempt": row.attempt}
    return Struck(f"{victim.name} of step {row.step} ({how.__name__.strip('_')})", details=details)


def _truncate(file: Path, draw: int) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _flip_a_bit(file: Path, draw: int) -> None:
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(draw % max(1, size))
        byte = opened.read(1) or b"\0"
        opened.seek(draw % max(1, size))
        opened.write(bytes([byte[0] ^ 1 << draw % 8]))
