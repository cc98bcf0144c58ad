"""Defines what the launcher passes to the supervisor and the ranks: `payload.json` in the run's folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from schemas.training import TrainingSpec
from workers import files
from workers.base_models.precision import Dtype

PAYLOAD_FILE = "payload.json"
ADAPTER_FOLDER = "adapter"
TORCHRUN_FOLDER = "torchrun"
TOKENS_FOLDER = "tokens"
LOG_FILE = "ranks.log"


class Meeting(BaseModel):
    """Where the nodes of one run meet, and which of them this one is.

    Attributes:
        id: of this start of the ranks, which no other one shares.
        node: 0 for the leader, whose machine has rank 0 and the store in which the ranks find each other.
        address: at which the others reach the leader.
        port: there.
        interface: the network interface of this node for what the ranks exchange; None: the libraries choose.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    node: int
    address: str
    port: int
    interface: str | None = None


class RunPayload(BaseModel):
    """One run: what to train, on which file, where to leave the results, and where to begin.

    Attributes:
        spec: what to train.
        train_file: JSONL of `{"prompt": [{"role", "content"}, …], "completion": "…"}`.
        eval_file: the same of the examples that are evaluated on and not trained on, each with its `tweet`; None: there are none.
        run_folder: where this attempt keeps its files; those of an earlier run in the same folder are removed.
        attempt: its number, in the name of each checkpoint, so that two attempts never write the same one.
        checkpoint_folder: where checkpoints go, for all attempts of a job; None: a folder in `run_folder`.
        resume_from: the checkpoint to go on from.
        base_sha256: the digest of the base's weights: a checkpoint of other ones is not gone on from.
        locks: the lock files of the devices, which each rank joins.
        meeting: of several nodes; None: all ranks are processes of this machine.
        dtype: of the weights, where an earlier attempt chose; None: the ranks choose.
    """

    model_config = ConfigDict(frozen=True)

    spec: TrainingSpec
    train_file: Path
    eval_file: Path | None = None
    run_folder: Path
    attempt: int = 1
    checkpoint_folder: Path | None = None
    resume_from: Path | None = None
    base_sha256: str = ""
    locks: tuple[Path, ...] = ()
    dtype: Dtype | None = None
    meeting: Meeting | None = None

    @classmethod
    def read(cls, path: Path) -> RunPayload:
        """Read the payload in the file `path`."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def write(self) -> Path:
        """Write the payload to its run's folder; return the path."""
        path = self.run_folder / PAYLOAD_FILE
        files.write_text(path, self.model_dump_json(indent=2), sync=True)
        return path

    @property
    def leads(self) -> bool:
        """Whether rank 0 is one of this run's processes, which writes progress, checkpoints and the result."""
        return self.meeting is None or self.meeting.node == 0

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints go."""
        return self.checkpoint_folder or self.run_folder / "checkpoints"

    @property
    def log_file(self) -> Path:
        """What the supervisor and the ranks say; runs in the same folder append to it."""
        return self.run_folder / LOG_FILE

    @property
    def tokens_folder(self) -> Path:
        """Where the token ids of the training file lie, for all attempts of a job."""
        folder = self.checkpoints.parent / TOKENS_FOLDER
        return folder if self.meeting is None else folder / f"node-{self.meeting.node}"  # each node encodes for its own ranks

    @property
    def stop_file(self) -> Path:
        """Its presence asks the ranks to make a checkpoint after the step under way, and to leave."""
        return self.run_folder / "stop"

    @property
    def deadline_file(self) -> Path:
        """Until when the ranks may run, see `workers.training.protocol.deadline`."""
        return self.run_folder / "deadline"

    @property
    def store_file(self) -> Path:
        """Where the ranks of this run find each other."""
        return self.run_folder / "ranks.store"

    @property
    def precision_file(self) -> Path:
        """Where rank 0 tells the others in which type to load the weights."""
        return self.run_folder / "precision.store"

    @property
    def rendezvous_file(self) -> Path:
        """Where torchrun's agent keeps its rendezvous."""
        return self.run_folder / "rendezvous.store"

    @property
    def torchrun_folder(self) -> Path:
        """Where torchrun keeps its own files."""
        return self.run_folder / TORCHRUN_FOLDER

    @property
    def trackers_folder(self) -> Path:
        """Where trackers keep their files, below it each in a folder of its own."""
        return self.run_folder / "trackers"

    @property
    def adapter_folder(self) -> Path:
        """Where the adapter will lie."""
        return self.run_folder / ADAPTER_FOLDER
