"""Progress: one JSON object a line in `progress.jsonl`, appended by rank 0 and followed by the launcher and the supervisor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

PROGRESS_FILE = "progress.jsonl"
STEP_MARK = b'"kind":"step"'
"""In the line of a `Step`, and in no other."""
FIRST_STEP_ALLOWANCE = 5
"""Times `stall_timeout` that the first step may take: the model loads, kernels compile."""


class Start(BaseModel):
    """The ranks found each other, the model is loaded, and the step after `resumed_from` comes next.

    `eval_rows` are the examples that it is evaluated on as it goes.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["start"] = "start"
    world_size: int
    backend: str
    zero_stage: int
    device: str
    trainable_parameters: int
    total_steps: int
    dropped: int
    resumed_from: int = 0
    dtype: str = ""
    dtype_reason: str = ""
    method: str = ""
    total_parameters: int = 0
    eval_rows: int = 0


class Tokenizing(BaseModel):
    """The training file is being encoded. `examples_tokenized` are done, and `share_read` of the file, from 0 to 1."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["tokenizing"] = "tokenizing"
    examples_tokenized: int
    share_read: float


class Step(BaseModel):
    """One optimizer step.

    `loss` is the mean over the completion tokens of the whole global batch, `tokens_per_second` that of all ranks since they began, without
    the time of evaluations, and `peak_memory_bytes` what the largest rank has used at most: allocated on its GPU, or resident on a CPU.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["step"] = "step"
    step: int
    loss: float
    tokens_per_second: float
    eta_seconds: float
    learning_rate: float
    peak_memory_bytes: int = 0


class Evaluated(BaseModel):
    """The model after a step, on the examples that were held back from training.

    Attributes:
        step: after which.
        rows: how many examples.
        eval_loss: mean cross-entropy over their completion tokens; None where summaries alone were written.
        eval_sari: mean SARI of the summaries that the model wrote, 0 to 100; None where none were written.
        baselines: SARI of the same rows by the name of a baseline that needs no model.
        seconds: that the steps waited for it.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["evaluated"] = "evaluated"
    step: int
    rows: int
    eval_loss: float | None = None
    eval_sari: float | None = None
    baselines: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0

    @property
    def numbers(self) -> dict[str, float]:
        """What was measured, by the names of the table `metric`."""
        measured = {"eval_loss": self.eval_loss, "eval_sari": self.eval_sari}
        named = measured | {f"eval_sari_{name}": value for name, value in self.baselines.items()}
        return {name: value for name, value in named.items() if value is not None}


class CheckpointWritten(BaseModel):
    """A checkpoint is whole and has its name. `bytes` counts its files, `seconds` how long the steps waited for it.

    `best`: by the evaluations so far no other step was better, so it is kept until one is.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    attempt: int
    folder: str
    manifest_sha256: str
    world_size: int
    zero_stage: int
    bytes: int
    seconds: float
    best: bool = False


class GpuUse(BaseModel):
    """What the driver says of the run's GPUs; the launcher asks it, not a rank.

    `utilization` is the mean share of time in which a kernel ran, 0 to 100; memory and power are sums.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["gpus"] = "gpus"
    utilization: float
    memory_bytes: int
    watts: float | None = None


class Done(BaseModel):
    """The adapter is written; the result follows."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["done"] = "done"


Event = Tokenizing | Start | Step | Evaluated | CheckpointWritten | GpuUse | Done
_event: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


class ProgressWriter:
    """Appends events, one write each, so that a reader never sees half a line behind a whole one."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / PROGRESS_FILE

    def write(self, event: Event) -> None:
        """Append `event`."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(event.model_dump_json() + "\n")

    def beat(self) -> None:
        """Show that a step was made without writing one: the watchdog looks at the file's time."""
        os.utime(self._path)


class ProgressReader:
    """Follows the file as it grows."""

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / PROGRESS_FILE
        self._offset = 0

    def read(self) -> list[Event]:
        """The events that are new since the last call; a line still being written is left for the next."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return []
        if not whole:
            return []
        self._offset += len(whole) + 1
        return [_event.validate_json(line) for line in whole.split(b"\n")]
