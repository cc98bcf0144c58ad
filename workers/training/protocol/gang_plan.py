"""What the leader of a gang and its members tell each other: the call in the leader's row, and the plan in the shared folder of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from schemas.training import TrainingSpec
from workers import files
from workers.base_models.precision import Dtype
from workers.training.protocol.outcome import FailureKind


class GangPlan(BaseModel):
    """One start of the ranks of all nodes. Reading it proves that a member sees the leader's folder of runs.

    Attributes:
        token: random, so that no other file is taken for this one.
        spec: what to train, with micro-batches as they are by now; each node finds the base for itself.
        base_sha256: the digest of the base's weights on the leader.
        train_sha256: of the training file, which each node writes for itself.
        resume_from: the name of the checkpoint to go on from.
        dtype: see `RunPayload`.
    """

    model_config = ConfigDict(frozen=True)

    token: str
    spec: TrainingSpec
    base_sha256: str
    train_sha256: str
    resume_from: str | None
    dtype: Dtype | None

    def write(self, folder: Path) -> str:
        """Keep the plan in an attempt's folder; return the digest of the file."""
        content = self.model_dump_json(indent=2)
        files.write_text(plan_file(folder, self.token), content, sync=True)
        return files.sha256(content)


def plan_file(folder: Path, token: str) -> Path:
    """Return where the plan with this token lies in an attempt's folder."""
    return folder / f"gang-{token}.json"


class GangCall(BaseModel):
    """What a leader asks of its members, in its row's progress.

    Attributes:
        attempt: of the leader.
        token: of the plan, which names this start of the ranks.
        plan_sha256: of the plan's file.
        host: the leader's machine.
        address: at which members reach the leader.
        port: there; 0 until all members have joined, and then the ranks start.
    """

    model_config = ConfigDict(frozen=True)

    attempt: int
    token: str
    plan_sha256: str
    host: str
    address: str
    port: int = 0


MemberFailureKind = FailureKind | Literal["unavailable"]


class MemberFailure(BaseModel):
    """Why a member's part of a start ended, in the member's progress under `FAILED`: `unavailable` when a GPU or server was."""

    model_config = ConfigDict(frozen=True)

    token: str
    kind: MemberFailureKind
    message: str
    log_tail: str = ""


JOINED = "joined"
"""The key of a member's progress under which it says for which start it is ready, see `joined_as`."""

FAILED = "failed"


def joined_as(token: str, attempt: int) -> str:
    """Return what a member says in its attempt `attempt` when it is ready; what an earlier attempt said is still in its row."""
    return f"{token}/{attempt}"
