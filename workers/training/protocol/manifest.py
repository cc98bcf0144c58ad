"""Describe a checkpoint: of which training it is, after which step, and what each of its files must be."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.base_models.precision import Dtype
from workers.training.protocol.progress import Evaluated

MANIFEST_FILE = "manifest.json"


class FileEntry(BaseModel):
    """What a file must be."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class EvaluationState(BaseModel):
    """What the evaluations of a run have shown up to a step; a resumed run goes on from it.

    Attributes:
        last: the newest evaluation.
        best: the one with the best `metric_for_best_model`.
        best_folder: the checkpoint of that step, where one is kept.
        not_better: evaluations in a row since then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    last: Evaluated | None = None
    best: Evaluated | None = None
    best_folder: str = ""
    not_better: int = 0


def folder_name(step: int, attempt: int) -> str:
    """Return the name of the folder of a checkpoint."""
    return f"step-{step:06d}-a{attempt}"


class Manifest(BaseModel):
    """What a checkpoint is of, and what belongs to it.

    Attributes:
        format: of the whole folder.
        identity: of the training, see `checkpoints.training_identity`.
        step: optimizer steps made.
        attempt: who made it.
        world_size: ranks that made it; any number may go on from it.
        zero_stage: of those ranks; any stage may go on from it.
        global_batch: examples a step.
        tokens: seen so far by all ranks, padding excluded.
        seconds: spent so far in the ranks.
        optimizer_step: Adam's own count, which corrects the bias of its moments.
        dtype: of the weights; None in checkpoints of earlier versions.
        evaluation: what the evaluations up to this step have shown; None where there were none.
        files: by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    identity: str
    step: int = Field(ge=1)
    attempt: int
    world_size: int
    zero_stage: int
    global_batch: int
    tokens: int
    seconds: float
    optimizer_step: float
    dtype: Dtype | None = None
    evaluation: EvaluationState | None = None
    files: dict[str, FileEntry] = Field(default_factory=dict)

    @property
    def folder_name(self) -> str:
        """How the checkpoint's folder is called."""
        return folder_name(self.step, self.attempt)
