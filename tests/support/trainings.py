"""Training jobs in a real ledger, for tests that disturb them: a small dataset, a job on it, and what became of it."""

from __future__ import annotations

import random
import re
import uuid
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Engine, text

from schemas.training import TrainingSpec
from tasks import training
from tests.support import jobs
from tests.support.ranks import WORDS
from tests.support.worker_process import WorkerProcess
from workers.settings import get_settings
from workers.training.protocol.progress import CheckpointWritten, Event, ProgressReader, Step

FINGERPRINT = "f00d"
_EXAMPLE = """
INSERT INTO example (dataset, key, stage, prompt_text, target_text, origin, split, cluster)
VALUES (:dataset, :key, 'summary', :prompt, :target, 'noise', 'train', :cluster)
"""
_RANK, _SUPERVISOR, _AGENT = "workers.training.rank.main", "workers.training.launcher.supervisor", "torch.distributed.run"


def add_dataset(engine: Engine, examples: int = 48) -> None:
    """A dataset called `small`."""
    chance = random.Random(0)
    with engine.begin() as connection:
        new = text("INSERT INTO dataset (name, fingerprint) VALUES ('small', :fingerprint) RETURNING id")
        dataset = connection.execute(new, {"fingerprint": FINGERPRINT}).scalar_one()
        for number in range(examples):
            prompt, target = " ".join(chance.choices(WORDS, k=4 + number % 7)), f"The {chance.choice(WORDS)} was late."
            connection.execute(
                text(_EXAMPLE), {"dataset": dataset, "key": f"k{number:03}", "prompt": prompt, "target": target, "cluster": number}
            )


class TrainingJob:
    """A training on that dataset, from the request to its end."""

    def __init__(self, engine: Engine, base: Path, **options: Any) -> None:
        self._engine = engine
        told = {"name": "tuned", "base": str(base), "dataset": "small", "world_size": 2, "max_steps": 100_000, "save_steps": 20}
        self.spec = TrainingSpec(**{**told, **options})
        self.id: uuid.UUID = training.enqueue(self.spec, dataset_fingerprint=FINGERPRINT).job
        self.folder = get_settings().runs_folder / str(self.id)

    @property
    def row(self) -> Any:
        """How it stands."""
        return jobs.row(self._engine, self.id)

    def said(self, attempt: int) -> list[Event]:
        """What the ranks of an attempt said."""
        return ProgressReader(self.folder / f"attempt-{attempt}").read()

    def step(self, attempt: int) -> int:
        """The last step that an attempt made."""
        return max((event.step for event in self.said(attempt) if isinstance(event, Step)), default=0)

    def saved(self, attempt: int) -> int:
        """The last step that an attempt kept."""
        return max((event.step for event in self.said(attempt) if isinstance(event, CheckpointWritten)), default=0)

    @property
    def log(self) -> list[str]:
        """The lines of its log."""
        query = text("SELECT detail FROM job_event WHERE job = :job AND event = 'log' ORDER BY id")
        with self._engine.connect() as connection:
            return list(connection.execute(query, {"job": self.id}).scalars())

    @property
    def story(self) -> str:
        """How it stands, and its log: one text, since a report of pytest cuts anything else."""
        row = self.row
        counts = f"{row.state}, attempt {row.attempt}, {row.failures} failures, {row.preemptions} times given back, {row.error}"
        return "\n".join([counts, *self.log])

    @property
    def resumed_from(self) -> list[int]:
        """The steps from which attempts went on, in order."""
        found = (re.match(r"resumed from step (\d+)", line) for line in self.log)
        return [int(match[1]) for match in found if match]

    def checkpoints(self) -> list[Any]:
        """Their rows, those of removed ones included."""
        query = text("SELECT step, attempt, folder, removed_at IS NOT NULL AS removed FROM checkpoint WHERE job = :job ORDER BY step")
        with self._engine.connect() as connection:
            return list(connection.execute(query, {"job": self.id}).all())

    def losses(self) -> dict[int, float]:
        """The loss of each step."""
        query = text("SELECT step, value FROM metric WHERE job = :job AND name = 'loss' ORDER BY step")
        with self._engine.connect() as connection:
            return {row.step: row.value for row in connection.execute(query, {"job": self.id})}


def group(worker: WorkerProcess) -> dict[str, list[psutil.Process]]:
    """The living processes below a worker, by role."""
    roles: dict[str, list[psutil.Process]] = {"child": [], "supervisor": [], "agent": [], "rank": []}
    try:
        below = psutil.Process(worker.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return roles
    for process in below:
        role = _role(process)
        if role:
            roles[role].append(process)
    return roles


def _role(process: psutil.Process) -> str | None:
    try:
        command = " ".join(process.cmdline())
    except psutil.Error:
        return None
    marks = {"supervisor": _SUPERVISOR, "agent": _AGENT, "rank": _RANK, "child": "spawn_main"}
    return next((role for role, mark in marks.items() if mark in command), None)


def left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie does not."""
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
