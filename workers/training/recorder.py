"""Writes to Postgres what a training reports while it runs: the metrics of each step, and which checkpoints there are."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Update, func, text, update
from sqlalchemy.exc import DBAPIError
from sqlmodel import col, select

from schemas.tables import models
from workers import clock
from workers.database import session_on, transaction
from workers.errors import Unavailable
from workers.jobs.context import JobContext
from workers.training.protocol import checkpoints
from workers.training.protocol.manifest import Manifest
from workers.training.protocol.progress import CheckpointWritten, Evaluated, Event, GpuUse, ProgressReader, Start, Step

logger = logging.getLogger(__name__)

STEP_METRICS = ("loss", "tokens_per_second", "learning_rate")
CHECKPOINTS_KEPT = 2
_ROWS_HELD_BACK = 30
_AFTER_OUTAGE = 2.0  # seconds

UPSERT_METRICS = """
INSERT INTO metric (job, step, name, value) SELECT :job, row.step, row.name, row.value
FROM jsonb_to_recordset(cast(:rows AS jsonb)) AS row(step int, name text, value float8)
ON CONFLICT (job, step, name) DO UPDATE SET value = excluded.value
"""
UPSERT_CHECKPOINT = """
INSERT INTO checkpoint (job, attempt, step, folder, manifest_sha256, world_size, zero_stage, bytes)
VALUES (:job, :attempt, :step, :folder, :manifest_sha256, :world_size, :zero_stage, :bytes)
ON CONFLICT (job, step) DO UPDATE SET attempt = excluded.attempt, folder = excluded.folder, manifest_sha256 = excluded.manifest_sha256,
    world_size = excluded.world_size, zero_stage = excluded.zero_stage, bytes = excluded.bytes, created_at = now(), removed_at = NULL
"""
# By the time of the record and not by the step: what was refused at a resume may be ahead of what is made after it. The best one stays.
RETIRE_OLD_CHECKPOINTS = """
UPDATE checkpoint SET removed_at = now() WHERE job = :job AND removed_at IS NULL AND folder <> :best AND id NOT IN (
    SELECT id FROM checkpoint WHERE job = :job AND removed_at IS NULL ORDER BY created_at DESC, step DESC LIMIT :kept)
"""


def attempt_folder(attempt: int) -> str:
    """Return the name of the folder in which an attempt keeps its files, below that of its job."""
    return f"attempt-{attempt}"


def _numbers(event: Step | Evaluated) -> list[dict[str, Any]]:
    named = event.numbers if isinstance(event, Evaluated) else {name: getattr(event, name) for name in STEP_METRICS}
    return [{"step": event.step, "name": name, "value": value} for name, value in named.items()]


def _evaluation_line(event: Evaluated) -> str:
    loss = [] if event.eval_loss is None else [f"loss {event.eval_loss:.4g}"]
    sari = [] if event.eval_sari is None else [f"SARI {event.eval_sari:.1f}"]
    beside = [f"{name} {value:.1f}" for name, value in event.baselines.items()]
    parts = ", ".join(loss + sari) + (f" ({', '.join(beside)})" if beside else "")
    return f"step {event.step}, {event.rows} rows held back: {parts}"


class Recorder:
    """Records what the ranks report. While Postgres is away it holds the rows back: the lease decides for how long that may go on.

    Args:
        attempt: at the job.
        folder: of the job's checkpoints.
    """

    def __init__(self, attempt: JobContext, folder: Path) -> None:
        self._attempt = attempt
        self._folder = folder
        self._rows: list[dict[str, Any]] = []
        self._checkpoints: list[CheckpointWritten] = []
        self._best = ""
        self._not_before = 0.0

    def record(self, event: Event) -> None:
        """Show an event as the job's progress; store a checkpoint at once, and the metrics of steps in batches.

        Raises:
            LeaseLost: the job is held elsewhere.
        """
        if isinstance(event, CheckpointWritten):
            self._attempt.progress(checkpoint=event.step)
            self._checkpoints.append(event)
            self._best = event.folder if event.best else self._best
        elif isinstance(event, Evaluated):
            self._attempt.progress(eval_step=event.step, **event.numbers)
            # The numbers are kept in any case: a line of the log is not worth a training that Postgres leaves for a while.
            with suppress(Unavailable, DBAPIError):
                self._attempt.log(_evaluation_line(event))
        elif isinstance(event, GpuUse):
            self._attempt.progress(
                **{f"gpu_{name}": value for name, value in event.model_dump(exclude={"kind"}, exclude_none=True).items()}
            )
        else:
            self._attempt.progress(**event.model_dump(exclude={"kind"}))
        if isinstance(event, Start):
            self._attempt.log(f"weights in {event.dtype} ({event.dtype_reason}), on {event.device}")
            if event.dropped:
                self._attempt.log(f"left out {event.dropped} lines of the training file: longer than max_length, or no conversation")
        if isinstance(event, Step | Evaluated):
            self._rows += _numbers(event)
        is_full = len(self._rows) >= _ROWS_HELD_BACK or isinstance(event, Evaluated)
        if (self._checkpoints or is_full) and clock.now() >= self._not_before:
            self._flush()

    def _flush(self) -> None:
        last = self._checkpoints[-1].step if self._checkpoints else None
        try:
            with self._attempt.flush() as connection:
                self.write(connection)
                kept = self._retire(connection)
        except (Unavailable, DBAPIError) as error:
            logger.warning("held back %d numbers and %d checkpoints: %s", len(self._rows), len(self._checkpoints), type(error).__name__)
            self._not_before = clock.now() + _AFTER_OUTAGE
            return
        self._rows, self._checkpoints = [], []
        if last is not None:
            checkpoints.prune(self._folder, kept, self._attempt.number, last)

    def write(self, connection: Connection) -> None:
        """Store the rows that are held back; a resumed run overwrites the steps that it repeats."""
        self._store_numbers(connection, self._rows)
        for made in self._checkpoints:
            connection.execute(text(UPSERT_CHECKPOINT), self._row(made.folder, made.model_dump()))

    def _store_numbers(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            connection.execute(text(UPSERT_METRICS), {"job": self._attempt.job, "rows": json.dumps(rows)})

    def _numbers_up_to(self, manifest: Manifest) -> list[dict[str, Any]]:
        """Return what the attempt that made a checkpoint wrote to its progress file: it may have died with rows held back."""
        events = ProgressReader(self._folder.parent / attempt_folder(manifest.attempt)).read()
        return [row for event in events if isinstance(event, Step | Evaluated) and event.step <= manifest.step for row in _numbers(event)]

    def _row(self, name: str, made: Mapping[str, Any]) -> dict[str, Any]:
        named = ("attempt", "step", "manifest_sha256", "world_size", "zero_stage", "bytes")
        return {"job": self._attempt.job, "folder": f"{self._folder.name}/{name}", **{column: made[column] for column in named}}

    def _retire(self, connection: Connection) -> set[str]:
        connection.execute(
            text(RETIRE_OLD_CHECKPOINTS), {"job": self._attempt.job, "kept": CHECKPOINTS_KEPT, "best": f"{self._folder.name}/{self._best}"}
        )
        return set(self._known(connection))

    def _known(self, connection: Connection) -> dict[str, str]:
        kept = select(models.Checkpoint).where(models.Checkpoint.job == self._attempt.job, col(models.Checkpoint.removed_at).is_(None))
        with session_on(connection) as session:
            return {Path(row.folder).name: row.manifest_sha256 for row in session.exec(kept)}

    def choose(self, identity: str) -> checkpoints.Stored | None:
        """Return the checkpoint from which this attempt resumes, if any. The job's log says why newer ones were refused.

        The chosen one is recorded, in case that its maker died before it could, and so are the numbers of the steps before it; the
        refused ones will be removed.

        Raises:
            LeaseLost: the job is held elsewhere.
            Unavailable: Postgres does not answer.
        """
        attempt = self._attempt
        checkpoints.remove_partial(self._folder, attempt.number)
        with transaction() as connection:
            choice = checkpoints.newest(self._folder, identity, self._known(connection))
        for name, reason in choice.refused:
            attempt.log(f"refused checkpoint {name}: {reason}")
        with attempt.flush() as connection:
            self._refuse(connection, [name for name, _ in choice.refused])
            if (stored := choice.checkpoint) is not None:
                described = {**stored.manifest.model_dump(), "manifest_sha256": stored.manifest_sha256, "bytes": stored.bytes}
                connection.execute(text(UPSERT_CHECKPOINT), self._row(stored.folder.name, described))
                self._store_numbers(connection, self._numbers_up_to(stored.manifest))
                self._best = stored.manifest.evaluation.best_folder if stored.manifest.evaluation else ""
        return choice.checkpoint

    def _refuse(self, connection: Connection, names: Sequence[str]) -> None:
        folders = [f"{self._folder.name}/{name}" for name in names]
        connection.execute(self._removal().where(col(models.Checkpoint.folder).in_(folders)))

    def remove_all(self, connection: Connection) -> None:
        """Record that the job's checkpoints are removed, once it is done."""
        connection.execute(self._removal())

    def _removal(self) -> Update:
        mine = update(models.Checkpoint).where(col(models.Checkpoint.job) == self._attempt.job, col(models.Checkpoint.removed_at).is_(None))
        return mine.values(removed_at=func.now())
