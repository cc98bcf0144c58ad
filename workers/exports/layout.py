"""The folder of an export: what it is called, what it says of itself, and when it may replace what is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.payloads import ExportFormat, Quant
from workers import files
from workers.errors import UserError

RECORD = "export.json"
README = "README.md"
ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"


class Record(BaseModel):
    """What an export says of itself.

    Attributes:
        model: its name.
        format: see `schemas.payloads.ExportFormat`.
        quant: number format of a GGUF file.
        method: by which the model was trained.
        stage: what it writes.
        base: the base's name here.
        base_id: its id on the hub, where that is known.
        base_sha256: of its weights.
        adapter_sha256: of what training left.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    format: ExportFormat
    quant: Quant | None
    method: str
    stage: str
    base: str
    base_id: str | None
    base_sha256: str
    adapter_sha256: str | None

    def write(self, folder: Path) -> None:
        """Write the record to a folder."""
        files.write_text(folder / RECORD, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Record:
        """What an export says of itself.

        Raises:
            UserError: it is no export, or its record is damaged.
        """
        try:
            return cls.model_validate_json((folder / RECORD).read_bytes())
        except FileNotFoundError:
            raise UserError(f"{folder} holds no {RECORD}: give the folder that `tweetmill export` wrote") from None
        except (OSError, ValidationError):
            raise UserError(f"{folder / RECORD} can't be read: export the model again") from None


def check_free(folder: Path) -> None:
    """Make sure that an export may take a folder's place: nothing is there, or an earlier export.

    Raises:
        UserError: something else is there.
    """
    try:
        is_others = folder.is_dir() and any(folder.iterdir()) and not (folder / RECORD).is_file()
    except OSError as error:
        raise UserError(f"{folder} can't be looked into by the worker ({error.strerror}): name another folder with -o") from None
    if is_others:
        raise UserError(f"{folder} holds files that are no export: name another folder with -o")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: name a folder with -o")
    if not folder.parent.is_dir():
        raise UserError(f"{folder}: there is no folder {folder.parent} on the worker; make it first")


def listed(folder: Path) -> dict[str, dict[str, Any]]:
    """Return every file of an export with its size and digest, by its path in the folder."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": files.sha256_of_file(path)} for path in found}


def json_of(path: Path) -> dict[str, Any]:
    """Return a JSON object of an export; empty where there is no such file.

    Raises:
        UserError: it is damaged.
    """
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        raise UserError(f"{path.name} is not valid JSON: export the model again") from None
    return found if isinstance(found, dict) else {}
