"""What the launcher hands to the supervisor and the ranks: `payload.json` in the run's folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from schemas.payloads import TrainingSpec
from workers.training.outcome import write_atomically

PAYLOAD_FILE = "payload.json"


class RunPayload(BaseModel):
    """One run: what to train, on which file, and where to leave the results."""

    model_config = ConfigDict(frozen=True)

    spec: TrainingSpec
    train_file: Path
    run_folder: Path

    @classmethod
    def read(cls, path: Path) -> RunPayload:
        """The payload kept at `path`."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def write(self) -> Path:
        """Keep the payload in its run's folder, and return where."""
        path = self.run_folder / PAYLOAD_FILE
        write_atomically(path, self.model_dump_json(indent=2))
        return path

    @property
    def store_file(self) -> Path:
        """Where the ranks of this run find each other."""
        return self.run_folder / "ranks.store"

    @property
    def rendezvous_file(self) -> Path:
        """Where torchrun's agent keeps its rendezvous."""
        return self.run_folder / "rendezvous.store"

    @property
    def torchrun_folder(self) -> Path:
        """Where torchrun keeps its own files."""
        return self.run_folder / "torchrun"

    @property
    def adapter_folder(self) -> Path:
        """Where the adapter will lie."""
        return self.run_folder / "adapter"
