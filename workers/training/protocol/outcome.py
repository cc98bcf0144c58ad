"""Defines how a run ends: exit codes, the result, and the record of a failure, as JSON files in the run's folder."""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.errors import TweetmillError, UserError
from workers.training.protocol.progress import Evaluated

RESULT_FILE = "result.json"
FAILURE_FILE = "failure.json"
SUPERVISOR_PID = "TWEETMILL_SUPERVISOR_PID"
"""The environment variable by which a rank knows the process that must be the parent of its launcher."""

FailureKind = Literal["user", "oom", "disk_full", "stall", "preempted", "crash"]
StopReason = Literal["cancel", "lost", "drain", "broken"]
"""`broken`: another node of the run has gone."""


class ExitCode(IntEnum):
    """The exit codes of the supervisor and the ranks.

    73, 75 and 77 are those of `sysexits.h` for "can't create a file", "try again" and "not permitted".
    """

    DONE = 0
    CRASH = 70
    OOM = 71
    STALL = 72
    DISK_FULL = 73
    PREEMPTED = 75
    USER = 77


EXIT_CODES: dict[FailureKind, ExitCode] = {
    "user": ExitCode.USER,
    "oom": ExitCode.OOM,
    "disk_full": ExitCode.DISK_FULL,
    "stall": ExitCode.STALL,
    "preempted": ExitCode.PREEMPTED,
    "crash": ExitCode.CRASH,
}


class RejectedLine(BaseModel):
    """A line of the training file that was left out, and why. It never holds the text."""

    model_config = ConfigDict(frozen=True)

    line: int
    field: str
    reason: str


class TrainingResult(BaseModel):
    """The result of a finished run.

    `seconds` is wall time in the ranks and `tokens` counts what they saw, padding excluded; both include the attempts that this one
    went on from, up to their checkpoints. `resumed_from` is the step that it went on from, 0 for none. `base_sha256` is the digest of the
    base's weights, see `workers.base_models.files`.
    `dtype` is that of the weights, `dtype_reason` why. `steps` counts what was made: fewer than planned where `stopped_early`.
    `peak_memory_bytes` is what the largest rank used at most: allocated on its GPU, or resident on a CPU. `tokens_per_second` is that of
    all ranks in this attempt, without the time of evaluations. `evaluation` is that of the weights that are kept, where there is one, and
    `best_step` the step that they are of, where the best were asked for. `dropped` counts the lines of the training file left out;
    `rejected` names the first thousand. `accelerators` names the GPUs, `versions` the libraries. `energy_joules` is what this attempt took,
    where `energy_source` tells it.
    """

    model_config = ConfigDict(frozen=True)

    adapter: Path
    sha256: str
    steps: int
    final_loss: float
    world_size: int
    backend: str
    zero_stage: int
    device: str
    seconds: float
    tokens: int
    examples: int
    dropped: int = 0
    rejected: tuple[RejectedLine, ...] = ()
    resumed_from: int = 0
    base_sha256: str = ""
    dtype: str = ""
    dtype_reason: str = ""
    method: str = ""
    trainable_parameters: int = 0
    total_parameters: int = 0
    peak_memory_bytes: int = 0
    tokens_per_second: float = 0.0
    stopped_early: bool = False
    best_step: int | None = None
    evaluation: Evaluated | None = None
    accelerators: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    energy_joules: float | None = None
    energy_source: str = ""


class Failure(BaseModel):
    """Why the ranks gave up, written by the first of them that knew."""

    model_config = ConfigDict(frozen=True)

    kind: FailureKind
    message: str


class TrainingFailed(TweetmillError):
    """The training did not finish."""

    def __init__(self, kind: FailureKind, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.log_tail = log_tail


class OutOfMemory(UserError):
    """The training does not fit into memory, even with smaller micro-batches."""

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail


class Preempted(TweetmillError):
    """The ranks exit before the end, which counts as no failure of the job."""


class TrainingStopped(TweetmillError):
    """The training was stopped because the caller asked for it."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(f"the training was stopped: {reason}")
        self.reason = reason


def record_failure(run_folder: Path, failure: Failure) -> None:
    """Write the first failure only: those of the other ranks then are about the peer that they lost."""
    try:
        with (run_folder / FAILURE_FILE).open("x", encoding="utf-8") as file:
            file.write(failure.model_dump_json())
    except FileExistsError:
        return


def read_failure(run_folder: Path) -> Failure | None:
    """Return the failure that the ranks recorded, or None when they died before they could."""
    try:
        return Failure.model_validate(json.loads((run_folder / FAILURE_FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None
