"""Writes, verifies and removes checkpoints on disk: a folder is complete or absent, and every byte is checked against its manifest.

A checkpoint is written under a name that ends in `.partial`: its files, and a manifest with their sizes and SHA-256. When all of them
are safe on disk the folder gets its name. A kill or a power cut at any moment leaves the earlier checkpoints as they
were. The attempt is part of the name, so that one that lost its lease without knowing can't write where the next attempt does.

Nothing here loads torch, and nothing is ever unpickled: see `docs/adr/0007-checkpoints-of-our-own.md`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from schemas.training import TrainingSpec
from workers import files
from workers.errors import TweetmillError, UserError
from workers.file_permissions import make_private
from workers.training.protocol.manifest import MANIFEST_FILE, FileEntry, Manifest

PARTIAL = ".partial"
_NAME = re.compile(r"step-(?P<step>\d{6,})-a(?P<attempt>\d+)")
# What may differ between the run that made a checkpoint and the one that goes on from it: none of it decides what is learnt. The
# sizes of batches are judged by their product, see `check_batch`.
_INDIFFERENT = {
    *("name", "curve", "dataset", "world_size", "nodes", "zero_stage", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("device", "offload_optimizer", "offload_param", "deepspeed", "gradient_checkpointing"),
    *("logging_steps", "report_to", "save_steps", "stall_timeout"),
}
_FIRST_KEYS = {
    *("base", "stage", "method", "learning_rate", "lr_scheduler_type", "warmup_ratio", "weight_decay", "max_grad_norm"),
    *("num_train_epochs", "max_steps", "max_length", "human_repeats", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules"),
    *("dtype", "bf16", "seed"),
}
"""What decided in the first version. A key that came later counts where it is not at its default: older checkpoints stay good."""


Content = Callable[[files.HashingFile], None]
"""Writes a file's content to what it is given, in parts that need not be in memory together."""


class Unusable(TweetmillError):
    """This checkpoint can't be used: the message says why."""


@dataclass(frozen=True)
class Stored:
    """A checkpoint that is on disk and verified; `bytes` counts its files without the manifest."""

    folder: Path
    manifest: Manifest
    manifest_sha256: str

    @property
    def bytes(self) -> int:
        """The size of its files, without the manifest."""
        return sum(entry.bytes for entry in self.manifest.files.values())


@dataclass(frozen=True)
class ResumePoint:
    """The checkpoint to resume from, if any, and why newer ones were refused: names of folders and reasons, the newest first."""

    checkpoint: Stored | None
    refused: tuple[tuple[str, str], ...]


def training_identity(spec: TrainingSpec, train_file: Path, base_sha256: str = "") -> str:
    """Return a digest of all that decides what a training learns: its conversations, its base, and its options except how work is split.

    Raises:
        OSError: when the file can't be read.
    """
    chosen = spec.model_dump(mode="json", exclude=_INDIFFERENT, exclude_defaults=True)
    deciding = spec.model_dump(mode="json", include=_FIRST_KEYS) | chosen
    if spec.nodes > 1 and base_sha256:  # each node has the base at a place of its own
        del deciding["base"]
    return files.sha256(json.dumps([files.sha256_of_file(train_file), deciding, *filter(None, [base_sha256])], sort_keys=True))


def write(parent: Path, manifest: Manifest, contents: Mapping[str, Content]) -> Stored:
    """Keep `contents`, by the names of their files, as a checkpoint under `parent`. When this returns, it will survive a power cut.

    Raises:
        OSError: the disk is full, or worse. Nothing is left behind, and earlier checkpoints are as they were.
    """
    make_private(parent)
    folder = parent / manifest.folder_name
    entries: dict[str, FileEntry] = {}
    # What is there by that name is of this very attempt, and was found unusable when it began anew.
    with files.atomic_folder(folder, folder.with_name(folder.name + PARTIAL), replace=True, sync=True) as partial:
        partial.mkdir()
        for name, write_content in contents.items():
            with (partial / name).open("wb") as file:
                out = files.HashingFile(file)
                write_content(out)
            entries[name] = FileEntry(bytes=out.bytes, sha256=out.sha256)
        whole = manifest.model_copy(update={"files": entries})
        described = whole.model_dump_json(indent=2).encode()
        (partial / MANIFEST_FILE).write_bytes(described)
    return Stored(folder, whole, files.sha256(described))


def verify(folder: Path) -> Stored:
    """Check a checkpoint against its manifest, byte for byte and in constant memory.

    Raises:
        Unusable: saying what is wrong with it.
    """
    stored = _described(folder)
    for name, entry in stored.manifest.files.items():
        try:
            size = (folder / name).stat().st_size
            digest = files.sha256_of_file(folder / name) if size == entry.bytes else ""
        except OSError as error:
            raise Unusable(f"{name} can't be read: {error.strerror}") from None
        if size != entry.bytes:
            raise Unusable(f"{name} has {size} bytes, and the manifest says {entry.bytes}")
        if digest != entry.sha256:
            raise Unusable(f"{name} has another sha256 than the manifest says")
    return stored


def _described(folder: Path) -> Stored:
    try:
        described = (folder / MANIFEST_FILE).read_bytes()
        manifest = Manifest.model_validate_json(described)
    except OSError as error:
        raise Unusable(f"{MANIFEST_FILE} can't be read: {error.strerror}") from None
    except ValidationError as error:
        raise Unusable(f"{MANIFEST_FILE} is not one that this version writes: {error.error_count()} errors") from None
    if manifest.folder_name != folder.name:
        raise Unusable(f"its manifest is that of {manifest.folder_name}")
    if any(Path(name).name != name for name in manifest.files):
        raise Unusable("its manifest names a file elsewhere")
    return Stored(folder, manifest, files.sha256(described))


def newest(parent: Path, identity: str, known: Mapping[str, str]) -> ResumePoint:
    """Return the checkpoint with the most steps that is complete and of this training.

    Args:
        parent: where the checkpoints of a job lie.
        identity: of the training that wants to go on.
        known: sha256 of the manifest by folder name, as the ledger recorded them. A checkpoint that is not there counts as well: its
            maker may have died before the record.
    """
    refused: list[tuple[str, str]] = []
    for folder in sorted(_folders(parent), key=_age, reverse=True):
        try:
            stored = verify(folder)
            if known.get(folder.name, stored.manifest_sha256) != stored.manifest_sha256:
                raise Unusable("its manifest is not the one that was recorded")
            if stored.manifest.identity != identity:
                raise Unusable("it was made from other data or other settings")
        except Unusable as error:
            refused.append((folder.name, str(error)))
        else:
            return ResumePoint(stored, tuple(refused))
    here = {folder.name for folder in _folders(parent)}
    refused += [(name, "it is recorded, but not in this node's folder of runs") for name in sorted(known.keys() - here, reverse=True)]
    return ResumePoint(None, tuple(refused))


def check_batch(manifest: Manifest, spec: TrainingSpec) -> None:
    """Make sure that `spec` asks for as many examples a step as the checkpoint's training had: the plan of the data depends on it.

    Raises:
        UserError: saying which value would do.
    """
    asked = spec.global_batch
    if asked == manifest.global_batch:
        return
    per_device = spec.per_device_train_batch_size
    while per_device > 1 and manifest.global_batch % (spec.world_size * per_device):
        per_device -= 1
    accumulation, rest = divmod(manifest.global_batch, spec.world_size * per_device)
    cure = f"per_device_train_batch_size={per_device} gradient_accumulation_steps={accumulation}"
    if rest:
        cure = f"world_size={manifest.world_size}: {manifest.global_batch} can't be shared out among {spec.world_size} ranks"
    raise UserError(
        f"this training stands at step {manifest.step} with {manifest.global_batch} examples a step, and per_device_train_batch_size "
        f"x gradient_accumulation_steps x world_size now gives {asked}. To go on, set {cure}"
    )


def prune(parent: Path, keep: Collection[str], attempt: int, step: int) -> list[str]:
    """Remove the checkpoints that are not named in `keep`; return their names.

    Spared are those of attempts later than `attempt`, and those that `attempt` itself made after `step`: nobody knows of them yet.
    """
    removed = []
    for folder in list(_folders(parent)):
        made_at, made_by = _age(folder)
        if folder.name not in keep and (made_by < attempt or (made_by == attempt and made_at <= step)):
            _remove(folder)
            removed.append(folder.name)
    return removed


def remove_partial(parent: Path, attempt: int) -> None:
    """Remove what attempts earlier than `attempt` did not finish writing."""
    for folder in list(parent.glob(f"step-*{PARTIAL}")):
        named = _NAME.fullmatch(folder.name.removesuffix(PARTIAL))
        if named and int(named["attempt"]) < attempt:
            shutil.rmtree(folder, ignore_errors=True)


def _folders(parent: Path) -> Iterator[Path]:
    return (folder for folder in (parent.iterdir() if parent.is_dir() else ()) if _NAME.fullmatch(folder.name))


def _age(folder: Path) -> tuple[int, int]:
    named = _NAME.fullmatch(folder.name)
    assert named is not None
    return int(named["step"]), int(named["attempt"])


def _remove(folder: Path) -> None:
    """Remove a checkpoint. It loses its name first: half a removal must not look like a damaged checkpoint."""
    doomed = folder.with_name(folder.name + PARTIAL)
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
